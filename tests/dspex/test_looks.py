"""How a run is looked at while its log says nothing."""

import asyncio

import pytest

from dspex.client import _looks
from dspex.client._looks import Looks, beside
from dspex.client._status import RunStatus
from dspex_core.events import PhaseStarted, RowsEvaluated
from dspex_core.progress import Progress

PHASE = PhaseStarted(phase="evaluating", rows=10, offset=0)


class Looked:
    """A run whose rows are found one more at each look, and a log that says one thing and then waits."""

    def __init__(self):
        self.asked = self.glanced = 0
        self.read = 0

    async def log(self):
        self.read += 1
        yield PHASE
        await asyncio.Event().wait()

    def _status(self, progress, **more):
        rows = RowsEvaluated(rows=self.asked + self.glanced, score=50.0)
        return RunStatus(id="run", status="running", optimizer="", progress=progress.after(rows), **more)

    async def glance(self, told):
        self.glanced += 1
        return self._status(told)

    async def ask(self):
        self.asked += 1
        return self._status(Progress().after(PHASE), note="no worker answers")

    def events(self):
        return beside(self.log(), Looks(self.glance, self.ask), "run")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(_looks, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(_looks, "TIMES_A_LOOK", 0.0)


async def first(events, count):
    found = [await anext(events) for _ in range(count)]
    await events.aclose()
    return found


async def test_rows_are_found_by_glances_that_ask_the_run_itself_nothing():
    run = Looked()
    found = await first(run.events(), 4)
    assert [event.type for event in found] == ["phase_started", *["rows_evaluated"] * 3]
    assert [event.rows for event in found[1:]] == [1, 2, 3]
    assert run.asked == 0


async def test_a_run_of_which_nothing_is_heard_is_asked_why(monkeypatch):
    monkeypatch.setattr(_looks, "SILENT_SECONDS", 0.0)
    run = Looked()
    found = await first(run.events(), 2)
    assert (found[1].type, found[1].reason) == ("run_held_up", "no worker answers")
    assert run.asked == 1


async def test_a_watcher_that_stops_reading_looks_no_more():
    run = Looked()
    events = run.events()
    await anext(events)
    await anext(events)
    looks = run.glanced
    for _ in range(100):
        await asyncio.sleep(0)
    assert run.glanced == looks
    await events.aclose()


async def test_looks_that_take_long_are_followed_by_long_pauses_and_a_single_one_is_not(monkeypatch):
    paused = []

    async def pause(seconds, sleep=asyncio.sleep):
        paused.append(seconds)
        await sleep(0)

    monkeypatch.setattr(_looks, "TIMES_A_LOOK", 1e9)
    monkeypatch.setattr(_looks.asyncio, "sleep", pause)
    await first(Looked().events(), 4)
    longest = _looks.LONGEST_PAUSE_SECONDS
    assert paused[:2] == [0.0, 0.0]
    assert 0.7 * longest < paused[2] < 1.3 * longest
