"""One value kept up to date for any number of watchers."""

import asyncio
from contextlib import ExitStack

from dspex.dashboard import _feeds
from dspex.dashboard._feeds import FEEDS_KEPT, Feed, Feeds
from dspex_core.errors import ServerUnavailableError


class Source:
    """Gives what is put into it."""

    def __init__(self):
        self.values = asyncio.Queue()
        self.followed = 0
        self.left = asyncio.Event()

    async def follow(self, stirred):
        self.followed += 1
        try:
            while True:
                value = await self.values.get()
                if isinstance(value, Exception):
                    raise value
                yield value
        finally:
            self.left.set()


async def until(feed, wanted):
    return await asyncio.wait_for(feed.known(lambda value: value == wanted), 10)


async def test_however_many_watch_it_is_followed_once():
    source = Source()
    feed = Feed(source.follow)
    with ExitStack() as watchers:
        for _ in range(20):
            watchers.enter_context(feed.watching())
        source.values.put_nowait("first")
        assert await until(feed, "first") == "first"
        assert source.followed == 1


async def test_it_is_followed_only_while_somebody_watches():
    source = Source()
    feed = Feed(source.follow)
    with feed.watching():
        source.values.put_nowait("first")
        await until(feed, "first")
    await asyncio.wait_for(source.left.wait(), 10)
    assert not feed.watched
    with feed.watching():
        source.values.put_nowait("second")
        assert await until(feed, "second") == "second"
    assert source.followed == 2


async def test_who_never_looks_holds_up_nothing_and_finds_the_latest():
    source = Source()
    feed = Feed(source.follow)
    with feed.watching():
        for number in range(1000):
            source.values.put_nowait(number)
        await until(feed, 999)
        assert feed.value == 999
        assert source.values.empty()


async def test_what_does_not_change_is_no_news():
    source = Source()
    feed = Feed(source.follow)
    with feed.watching():
        for value in ("same", "same", "other"):
            source.values.put_nowait(value)
        await until(feed, "other")
        assert feed.version == 2


async def test_what_keeps_it_from_being_followed_is_told_and_the_last_value_stays():
    source = Source()
    feed = Feed(source.follow)
    with feed.watching():
        source.values.put_nowait("first")
        source.values.put_nowait(ServerUnavailableError("the server is away"))
        await feed.known(lambda value: False)
        assert (feed.value, feed.trouble) == ("first", "the server is away")


async def test_a_defect_is_told_too_and_it_is_followed_on(monkeypatch):
    monkeypatch.setattr(_feeds, "RETRY_SECONDS", 0.0)
    source = Source()
    feed = Feed(source.follow)
    with feed.watching():
        source.values.put_nowait(KeyError("optimizer"))
        await feed.known(lambda value: False)
        assert feed.trouble == "a defect of the dashboard: KeyError: 'optimizer'"
        source.values.put_nowait("first")
        while feed.trouble is not None:
            await until(feed, "first")
        assert feed.value == "first"


async def test_feeds_that_nobody_watches_are_forgotten_in_time():
    feeds, source = Feeds(), Source()
    with feeds.get("watched", lambda: Feed(source.follow)).watching():
        watched = feeds.get("watched", lambda: Feed(source.follow))
        for number in range(2 * FEEDS_KEPT):
            feeds.get(number, lambda: Feed(source.follow))
        assert feeds.get("watched", lambda: Feed(source.follow)) is watched
        fresh = Feed(source.follow)
        assert feeds.get(0, lambda: fresh) is fresh
