import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator, Hashable
from contextlib import aclosing, contextmanager
from typing import Any, Generic, TypeVar

from dspex_core.errors import DSPExError

T = TypeVar("T")

FIRST_VALUE_SECONDS = 5.0
RETRY_SECONDS = 1.0
FEEDS_KEPT = 64


class Feed(Generic[T]):
    """One value that is kept up to date while anybody watches it, however many do.

    Watchers are not told of a change: each looks at `version` when it is ready to show something. So one that is slow,
    or reads no more, costs nothing and skips what it has missed.

    Args:
        follow: Gives the value as it is now, and whenever it has changed; it ends once it never will again. It is given
            an event that is set when somebody has just changed what it tells of.

    Attributes:
        value: The value last given; None before the first.
        trouble: What keeps it from being followed; None if nothing does.
        version: Another number whenever the value or the trouble has changed.
    """

    def __init__(self, follow: Callable[[asyncio.Event], AsyncGenerator[T]]) -> None:
        self._follow = follow
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._stirred = asyncio.Event()
        self._told = asyncio.Event()
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

    async def known(self, wanted: Callable[[T], bool] = lambda _: True) -> T | None:
        """The value, once there is one; None if it cannot be had, or not soon. Only while watching.

        Args:
            wanted: What it must hold; one that does not is given only after a while.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_VALUE_SECONDS):
                while self.trouble is None and (self.value is None or not wanted(self.value)):
                    self._told.clear()
                    await self._told.wait()
        return self.value

    def stir(self) -> None:
        """Look at once: somebody has just changed what it tells of."""
        self._stirred.set()
        if self.watched and self._task is not None and self._task.done():
            self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            try:
                async with aclosing(self._follow(self._stirred)) as values:
                    async for value in values:
                        self._tell(value, None)
            except DSPExError as error:
                self._tell(self.value, str(error))
            except Exception as error:  # noqa: BLE001 - whoever watches is told; a page that stands still is worse
                self._tell(self.value, f"a defect of the dashboard: {type(error).__name__}: {error}")
            else:
                return
            await asyncio.sleep(RETRY_SECONDS)

    def _tell(self, value: T | None, trouble: str | None) -> None:
        if (value, trouble) != (self.value, self.trouble):
            self.value, self.trouble = value, trouble
            self.version += 1
        self._told.set()


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
