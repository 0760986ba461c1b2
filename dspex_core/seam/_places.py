import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Self

_place: ContextVar["Place | None"] = ContextVar("dspex_place", default=None)


class Place:
    """A place among those who work at once: `async with Place(places): …`. Who merely waits leaves it to another.

    Args:
        places: As many as may work at once.
        on_left: Called when the place is left, so that somebody may be found to take it.

    Attributes:
        around: The place that is held around it, which who waits leaves as well.
    """

    def __init__(self, places: asyncio.Semaphore, *, on_left: Callable[[], None] | None = None) -> None:
        self._places = places
        self._on_left = on_left
        self.around: Place | None = None
        self._held = False
        self._away = 0

    async def __aenter__(self) -> Self:
        await self._places.acquire()
        self._held = True
        self._loop = asyncio.get_running_loop()
        self.around = _place.get()
        self._token: Token[Place | None] = _place.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _place.reset(self._token)
        if self._held:
            self._held = False
            self._places.release()

    @asynccontextmanager
    async def left(self) -> AsyncGenerator[None]:
        """Leave the place for the block, and have one again afterwards. Calls made side by side leave it once."""
        if asyncio.get_running_loop() is not self._loop:
            # A synchronous metric runs programs on a loop of its own, which cannot wait for this one's places.
            yield
            return
        self._away += 1
        if self._held:
            self._held = False
            self._places.release()
            if self._on_left is not None:
                self._on_left()
        try:
            yield
        finally:
            self._away -= 1
        if not self._away and not self._held:
            self._held = True
            await self._take_again()

    async def _take_again(self) -> None:
        try:
            await self._places.acquire()
        except BaseException:
            self._held = False
            raise


@asynccontextmanager
async def stepping_aside() -> AsyncGenerator[None]:
    """Let others work while the block only waits, such as for a provider that asks for patience."""
    place = _place.get()
    async with AsyncExitStack() as left:
        while place is not None:
            await left.enter_async_context(place.left())
            place = place.around
        yield
