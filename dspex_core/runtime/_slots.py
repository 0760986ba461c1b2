import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Literal

from dspex_core.seam import Work


class Slots(asyncio.Semaphore):
    """Places of rows; while rows have left theirs to wait for a retry, idle places take work that is not needed yet.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._count = count
        self._taken = 0
        self._promised = 0
        self._rows = 0
        self._more: Callable[[], Work | None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def acquire(self) -> Literal[True]:
        """Take a place."""
        await super().acquire()
        self._taken += 1
        return True

    def release(self) -> None:
        """Give it back."""
        self._taken -= 1
        super().release()
        self._look_soon()

    @asynccontextmanager
    async def row(self) -> AsyncGenerator[None]:
        """A row that has a place, or has left it for a while."""
        self._rows += 1
        try:
            yield
        finally:
            self._rows -= 1

    @contextmanager
    def working_ahead(self, more: Callable[[], Work | None]) -> Generator[None]:
        """See `WorksAhead.working_ahead`."""
        self._more, self._context = more, contextvars.copy_context()
        self._look_soon()
        try:
            yield
        finally:
            self._more = None

    def _look_soon(self) -> None:
        if self._more is not None:
            asyncio.get_running_loop().call_soon(self._look, context=self._context)

    def _look(self) -> None:
        while self._more is not None and self._is_idle and (work := self._more()) is not None:
            self._promised += 1
            task = asyncio.get_running_loop().create_task(self._begin(work), context=self._context.copy())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @property
    def _is_idle(self) -> bool:
        somebody_waits = self._rows > self._taken
        return somebody_waits and not self.locked() and self._taken + self._promised < self._count

    async def _begin(self, work: Work) -> None:
        self._promised -= 1
        await work()
