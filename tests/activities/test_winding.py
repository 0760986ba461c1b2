"""What an activity that is told to end, or whose worker is told to stop, still does."""

import asyncio

import pytest
from temporalio.testing import ActivityEnvironment

from activities._winding import Winding


class Chunk:
    """An activity that goes through three rows, one after the other; each is done when it is let."""

    def __init__(self):
        self.winding = Winding()
        self.rows_begun = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def run(self):
        return await self.winding.finished(self._work())

    async def _work(self):
        for row in self.winding.until_told(range(3)):
            self.rows_begun.append(row)
            self.begun.set()
            await self.go_on.wait()
        return self.rows_begun


@pytest.fixture
async def chunk():
    return Chunk()


@pytest.fixture
def environment():
    return ActivityEnvironment()


async def test_a_worker_that_is_told_to_stop_begins_no_further_row_and_answers_with_those_it_has(chunk, environment):
    running = asyncio.create_task(environment.run(chunk.run))
    await chunk.begun.wait()
    environment.worker_shutdown()
    chunk.go_on.set()
    assert await running == [0]


async def test_rows_that_take_longer_than_a_stopping_worker_waits_are_given_up(chunk, environment):
    running = asyncio.create_task(environment.run(chunk.run))
    await chunk.begun.wait()
    environment.worker_shutdown()
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_activity_that_is_told_to_end_finishes_the_rows_under_way(chunk, environment):
    running = asyncio.create_task(environment.run(chunk.run))
    await chunk.begun.wait()
    environment.cancel()
    await asyncio.sleep(0)
    chunk.go_on.set()
    assert await running == [0]


@pytest.mark.parametrize("how", ["the time is over", "the worker stops"])
async def test_it_does_not_wait_for_them_for_ever(chunk, environment, monkeypatch, how):
    monkeypatch.setattr("activities._winding.WIND_UP_SECONDS", 0 if how == "the time is over" else 60)
    monkeypatch.setattr("activities._winding.STOPPING_SECONDS", 0)
    running = asyncio.create_task(environment.run(chunk.run))
    await chunk.begun.wait()
    environment.cancel()
    await asyncio.sleep(0)
    if how == "the worker stops":
        environment.worker_shutdown()
    with pytest.raises(asyncio.CancelledError):
        await running
