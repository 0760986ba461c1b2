"""One subscription to a run, many subscribers in a process."""

import asyncio

import pytest

from dspex.client import RunFeed
from dspex_core.errors import RunNotFoundError
from dspex_core.events import CandidateEvaluated, PhaseStarted, RowsEvaluated

LOG = [PhaseStarted(offset=0, phase="x"), *(CandidateEvaluated(offset=n, index=n, label="", score=n) for n in (1, 2))]


class Source:
    """A run whose events come when the test says so."""

    def __init__(self):
        self.queue = asyncio.Queue()
        self.subscriptions = 0

    async def events(self):
        self.subscriptions += 1
        while (event := await self.queue.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    def tell(self, *events):
        for event in events:
            self.queue.put_nowait(event)


async def collected(feed, **options):
    return [event async for event in feed.events(**options)]


async def test_everybody_gets_the_whole_log_from_one_subscription_whenever_they_come():
    source = Source()
    async with RunFeed(source) as feed:
        early = asyncio.create_task(collected(feed))
        source.tell(*LOG[:2])
        while len(feed.progress.candidates) < 1:
            await asyncio.sleep(0)
        late, from_two = asyncio.create_task(collected(feed)), asyncio.create_task(collected(feed, offset=2))
        source.tell(LOG[2], None)
        assert await early == await late == LOG
        assert await from_two == LOG[2:]
        assert await collected(feed) == LOG, "after the end, too"
    assert source.subscriptions == 1
    assert feed.progress.best_score == 2


async def test_a_subscriber_that_stops_reading_holds_up_nobody_and_misses_nothing_of_the_log():
    source = Source()
    looks = [RowsEvaluated(rows=n) for n in range(1000)]
    async with RunFeed(source) as feed:
        slow = feed.events()
        source.tell(LOG[0])
        assert await anext(slow) == LOG[0]
        quick = asyncio.create_task(collected(feed))
        source.tell(*looks, *LOG[1:], None)
        assert [event for event in await quick if event.offset is not None] == LOG
        rest = [event async for event in slow]
    assert [event for event in rest if event.offset is not None] == LOG[1:]
    assert [event for event in rest if event.offset is None] == looks[-1:]


async def test_what_goes_wrong_is_told_to_everybody():
    source = Source()
    async with RunFeed(source) as feed:
        first = asyncio.create_task(collected(feed))
        source.tell(LOG[0], RunNotFoundError("there is no run 'x'"))
        for watching in (first, asyncio.create_task(collected(feed))):
            with pytest.raises(RunNotFoundError, match="no run 'x'"):
                await watching


async def test_leaving_the_block_ends_every_subscription():
    async with RunFeed(Source()) as feed:
        watching = asyncio.create_task(collected(feed))
        await asyncio.sleep(0)
    assert await watching == []
