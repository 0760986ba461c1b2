import asyncio
from collections.abc import Coroutine, Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

WIND_UP_SECONDS = 30.0
"""How long rows under way may take once their activity is told to end."""


class Winding:
    """Lets an activity that is told to end finish the rows under way, and answer with those it has.

    So a run that is paused, or whose worker stops, loses no row that is paid for.
    """

    def __init__(self) -> None:
        self._told = False

    def until_told(self, rows: Iterable[T]) -> Generator[T]:
        """The rows, as long as nobody has told it to end."""
        for row in rows:
            if self._told:
                return
            yield row

    async def finished(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work; a cancellation ends it in order, and a second one, or time, at once."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                raise
            self._told = True
        try:
            return await asyncio.wait_for(task, WIND_UP_SECONDS)
        except (asyncio.CancelledError, TimeoutError):
            task.cancel()
            raise asyncio.CancelledError from None
