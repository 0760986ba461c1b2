import asyncio
import threading
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from dspex_core import events
from dspex_core.errors import ConfigurationError
from dspex_core.events import (
    CandidateEvaluated,
    EventsLost,
    LMEnd,
    ModuleStart,
    OptimizerStarted,
    PhaseStarted,
    RowsEvaluated,
    ToolFinished,
)
from dspex_core.usage import Usage

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
        ModuleStart(call_id="a-1", module="Predict", inputs={"text": "x"}),
        LMEnd(call_id="a-2", parent_id="a-1", model="openai/m", text="y", seconds=0.5, usage=Usage(lm_calls=1)),
        ToolFinished(call_id="a-3", tool="search", seconds=0.5, error="ToolFailedError: no", failed=True),
    ],
)
def test_an_event_is_known_again_by_its_type(event):
    adapter = TypeAdapter(events.Event)
    assert adapter.validate_json(event.model_dump_json()) == event


async def test_a_subscriber_gets_the_types_it_asks_for_and_no_others():
    with events.subscribe(types={"rows_evaluated"}) as some, events.subscribe() as everything:
        events.publish(PhaseStarted(phase="x"))
        events.publish(NUMBERED[0])
    assert [event.type async for event in some] == ["rows_evaluated"]
    assert [event.type async for event in everything] == ["phase_started", "rows_evaluated"]


async def test_calls_are_watched_only_while_somebody_wants_some_and_nobody_mutes_them():
    assert not events.watched()
    with events.subscribe(types=events.RUNS):
        assert not events.watched()
        with events.subscribe(types={"lm_end"}):
            assert events.watched()
            with events.muted():
                assert not events.watched()
            assert events.watched()
    assert not events.watched()


async def test_a_type_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(ConfigurationError, match=r"no events of type 'lm_ended'; there are .*lm_end"):
        events.subscribe(types={"lm_ended"}).__enter__()
    assert {"module_start", "tool_called", "retrieval_end"} <= events.CALLS
    assert {"optimizer_started", "events_lost"} <= events.RUNS


def test_every_event_is_in_the_table_of_the_docs():
    page = (Path(__file__).parents[2] / "docs/events.md").read_text(encoding="utf-8")
    assert {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")} == events.RUNS | events.CALLS


async def test_it_is_known_whether_anybody_wants_a_type():
    assert not events.wanted("rows_evaluated")
    with events.subscribe(types={"rows_evaluated"}):
        assert events.wanted("rows_evaluated")
        assert not events.wanted("candidate_proposed")
    assert not events.wanted("rows_evaluated")
