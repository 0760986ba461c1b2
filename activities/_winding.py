import asyncio
from collections.abc import Coroutine, Generator, Iterable
from typing import Any, TypeVar

from temporalio import activity

T = TypeVar("T")

WIND_UP_SECONDS = 30.0
"""How long rows under way may take once their activity is told to end."""
STOPPING_SECONDS = 20.0
"""The same, once their worker is told to stop."""


class Winding:
    """Lets an activity that is told to end finish the rows under way, and answer with those it has.

    So a run that is paused, or whose worker stops, loses no row that is paid for.
    """

    def __init__(self) -> None:
        self._told = False

    def until_told(self, rows: Iterable[T]) -> Generator[T]:
        """The rows, as long as neither the activity is told to end nor its worker to stop."""
        for row in rows:
            if self._told or activity.is_worker_shutdown():
                return
            yield row

    async def finished(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work; a cancellation ends it in order, and a second one, or time, at once."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # The worker has given it time already.
            if task.done() or activity.is_worker_shutdown():
                task.cancel()
                raise
            self._told = True
        stopping = asyncio.ensure_future(_stopping())
        try:
            await asyncio.wait([task, stopping], timeout=WIND_UP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            stopping.cancel()
            task.cancel()
        raise asyncio.CancelledError


async def _stopping() -> None:
    """Wait until the worker was told to stop so long ago that it stops."""
    await activity.wait_for_worker_shutdown()
    await asyncio.sleep(STOPPING_SECONDS)
