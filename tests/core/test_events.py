import asyncio
import threading

import pytest
from pydantic import TypeAdapter

from dspex_core import events
from dspex_core.events import CandidateEvaluated, EventsLost, OptimizerStarted, PhaseStarted, RowsEvaluated

NUMBERED = [RowsEvaluated(rows=number) for number in range(10)]


async def test_every_subscriber_gets_every_event_in_order():
    with events.subscribe() as first, events.subscribe() as second:
        for event in NUMBERED:
            events.publish(event)
    assert [event async for event in first] == NUMBERED
    assert [event async for event in second] == NUMBERED


async def test_events_arrive_while_the_block_runs():
    with events.subscribe() as stream:
        reading = asyncio.create_task(anext(aiter(stream)))
        await asyncio.sleep(0)
        events.publish(NUMBERED[3])
        assert await reading == NUMBERED[3]


async def test_the_iteration_ends_with_the_block():
    async def read(stream):
        return [event async for event in stream]

    with events.subscribe() as stream:
        reading = asyncio.create_task(read(stream))
        await asyncio.sleep(0)
        events.publish(NUMBERED[0])
    events.publish(NUMBERED[1])
    assert await reading == NUMBERED[:1]


async def test_a_slow_subscriber_loses_the_oldest_and_is_told_how_many():
    with events.subscribe(buffer=3) as stream:
        for event in NUMBERED:
            events.publish(event)
    assert [event async for event in stream] == [EventsLost(count=7), *NUMBERED[7:]]


async def test_what_was_lost_is_told_in_its_place():
    with events.subscribe(buffer=2) as stream:
        reading = aiter(stream)
        events.publish(NUMBERED[0])
        assert await anext(reading) == NUMBERED[0]
        for event in NUMBERED[1:5]:
            events.publish(event)
        assert [await anext(reading) for _ in range(3)] == [EventsLost(count=2), NUMBERED[3], NUMBERED[4]]


async def test_events_arrive_from_other_threads():
    with events.subscribe() as stream:
        reading = asyncio.create_task(anext(aiter(stream)))
        await asyncio.sleep(0)
        thread = threading.Thread(target=events.publish, args=(NUMBERED[1],))
        thread.start()
        assert await reading == NUMBERED[1]
        thread.join()


def test_publishing_without_subscribers_does_nothing():
    events.publish(NUMBERED[0])


def test_a_subscriber_whose_loop_has_ended_harms_nobody():
    async def subscribe():
        manager = events.subscribe()
        manager.__enter__()
        return manager

    manager = asyncio.run(subscribe())
    events.publish(NUMBERED[0])
    manager.__exit__(None, None, None)


@pytest.mark.parametrize(
    "event",
    [
        OptimizerStarted(optimizer="MIPROv2"),
        PhaseStarted(phase="bootstrapping", rows=3),
        RowsEvaluated(rows=2, score=50.0),
        CandidateEvaluated(index=1, label="x", score=50.0),
        EventsLost(count=3),
    ],
)
def test_an_event_is_known_again_by_its_type(event):
    adapter = TypeAdapter(events.Event)
    assert adapter.validate_json(event.model_dump_json()) == event
