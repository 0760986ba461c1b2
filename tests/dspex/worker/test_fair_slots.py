"""Which activities a worker takes when there are others who could take them."""

from types import SimpleNamespace

import pytest

from activities import Turns
from dspex.worker._slots import FairSlots
from dspex_core.requests import EVALUATE_CHUNK, GENERATE
from dspex_core.seam import LMConfig

MOST = 8


class Desk:
    """A worker's places, and the activities that come for them."""

    def __init__(self, *, is_alone=None):
        self.turns = Turns()
        self._slots = FairSlots(self.turns, most=MOST)
        if is_alone is not None:
            self._slots.is_alone = is_alone

    def asks(self):
        """A place to take something with, if the worker asks for more now."""
        return self._slots.try_reserve_slot(None)

    def comes(self, permit, activity=EVALUATE_CHUNK):
        self._slots.mark_slot_used(SimpleNamespace(permit=permit, slot_info=SimpleNamespace(activity_type=activity)))

    def is_done(self, permit):
        self._slots.release_slot(SimpleNamespace(permit=permit, slot_info=None))


@pytest.fixture
def desk(monkeypatch):
    monkeypatch.setattr("dspex.worker._slots.BETWEEN_LOOKS_SECONDS", 0.0)
    return Desk(is_alone=False)


def test_a_worker_that_is_alone_takes_all_there_is():
    desk = Desk(is_alone=True)
    permits = [desk.asks() for _ in range(MOST)]
    for permit in permits:
        desk.comes(permit)
    with desk.turns.taken():
        assert desk.asks() is None
        desk.is_done(permits[0])
        assert desk.asks() is not None


def test_a_worker_that_has_just_started_leaves_to_others_what_it_cannot_begin():
    desk = Desk()
    desk.comes(desk.asks())
    with desk.turns.taken():
        assert desk.asks() is None


def test_a_worker_is_alone_once_it_alone_is_known_and_the_others_are_gone_for_long(monkeypatch):
    slots = FairSlots(Turns(), most=MOST)
    found = []
    for workers in (set(), {"other"}, {"me"}):
        slots.hear(workers, own="me")
        found.append(slots.is_alone)
    monkeypatch.setattr("dspex.worker._slots.UNTIL_OTHERS_ARE_GONE_SECONDS", 0.0)
    for workers in ({"me"}, {"me", "other"}):
        slots.hear(workers, own="me")
        found.append(slots.is_alone)
    assert found == [False, False, False, True, False]


def test_a_worker_that_hears_of_itself_alone_when_it_starts_is_alone():
    slots = FairSlots(Turns(), most=MOST)
    slots.hear({"me"}, own="me")
    assert slots.is_alone


def test_beside_others_a_worker_asks_for_nothing_while_a_chunk_waits_in_it(desk):
    desk.comes(desk.asks())
    with desk.turns.taken() as turn:
        assert desk.asks() is None
        turn.begins()
        assert desk.asks() is not None


async def test_beside_others_a_worker_asks_for_nothing_while_its_turns_are_all_taken(desk):
    desk.comes(desk.asks())
    turns = desk.turns.of(LMConfig(model="openai/fake", concurrency=2), rows=2)
    async with turns, turns:
        assert desk.asks() is None
    assert desk.asks() is not None


def test_a_worker_that_has_chunks_asks_for_one_activity_at_a_time(desk):
    desk.comes(desk.asks())
    first = desk.asks()
    assert desk.asks() is None
    desk.comes(first, GENERATE)
    second = desk.asks()
    assert second is not None
    desk.is_done(second)  # nothing came
    assert desk.asks() is not None


def test_a_chunk_that_has_just_come_may_be_one_that_waits(desk, monkeypatch):
    monkeypatch.setattr("dspex.worker._slots.BETWEEN_LOOKS_SECONDS", 60.0)
    desk.comes(desk.asks())
    assert desk.asks() is None


def test_beside_others_a_worker_without_chunks_asks_for_two_activities_at_a_time(desk):
    for _ in range(3):
        desk.comes(desk.asks(), GENERATE)
    assert [desk.asks() is None for _ in range(3)] == [False, False, True]


def test_a_worker_whose_chunks_are_done_asks_for_as_much_as_before(desk):
    permit = desk.asks()
    desk.comes(permit)
    desk.is_done(permit)
    assert desk.asks() is not None
    assert desk.asks() is not None


async def test_a_chunk_that_fails_before_its_turn_waits_no_longer(desk):
    with pytest.raises(ZeroDivisionError), desk.turns.taken():
        raise ZeroDivisionError
    assert desk.turns.waiting == 0
