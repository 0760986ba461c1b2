import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Hashable
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from dspex_core.errors import DSPExError

T = TypeVar("T")

FIRST_VALUE_SECONDS = 5.0
FEEDS_KEPT = 64


class Feed(Generic[T]):
    """One value that is kept up to date while anybody watches it, however many do.

    Watchers are not told of a change: each looks at `version` when it is ready to show something. So one that is slow,
    or reads no more, costs nothing and skips what it has missed.

    Args:
        fetch: Gives the value as it is now.
        every_seconds: How long to wait before asking again.
        final: Whether a value will never change again.

    Attributes:
        value: The value last fetched; None before the first.
        trouble: Why the last fetch failed; None if it did not.
        version: Another number whenever the value or the trouble has changed.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], *, every_seconds: float, final: Callable[[T], bool] = lambda _: False
    ) -> None:
        self._fetch = fetch
        self._every_seconds = every_seconds
        self._final = final
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._fetched = asyncio.Event()
        self.value: T | None = None
        self.trouble: str | None = None
        self.version = 0

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return self._watchers > 0

    @contextmanager
    def watching(self) -> Generator[None]:
        """Keep the value up to date while the block runs."""
        self._watchers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._task.cancel()

    async def known(self) -> T | None:
        """The value, once there is one; None if it cannot be had, or not soon. Only while watching."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._fetched.wait(), FIRST_VALUE_SECONDS)
        return self.value

    def ask_again(self) -> None:
        """Fetch at once: somebody has just changed what it tells of."""
        self._wanted.set()
        if self.watched and self._task is not None and self._task.done():
            self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            self._wanted.clear()
            before = self.value, self.trouble
            try:
                self.value, self.trouble = await self._fetch(), None
            except DSPExError as error:
                self.trouble = str(error)
            if (self.value, self.trouble) != before:
                self.version += 1
            self._fetched.set()
            if self.trouble is None and self.value is not None and self._final(self.value):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._every_seconds)


class Feeds:
    """Feeds by what they tell of, so that all browsers share one; those that nobody watches are forgotten in time."""

    def __init__(self) -> None:
        self._feeds: dict[Hashable, Feed[Any]] = {}

    def get(self, key: Hashable, make: Callable[[], Feed[T]]) -> Feed[T]:
        """The feed of that key, made if there is none yet."""
        feed = self._feeds.pop(key, None) or make()
        self._feeds[key] = feed  # the one used last comes last
        for old, other in list(self._feeds.items()):
            if len(self._feeds) <= FEEDS_KEPT:
                break
            if not other.watched:
                del self._feeds[old]
        return feed
