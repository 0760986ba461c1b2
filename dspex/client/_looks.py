import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from dspex.client._status import RunStatus
from dspex_core.errors import DSPExError
from dspex_core.events import Event, RowsEvaluated, RunHeldUp
from dspex_core.progress import Progress

LOOK_SECONDS = 0.5
"""Between looks at a run whose log has nothing new."""


async def beside(
    log: AsyncGenerator[Event], look: Callable[[], Awaitable[RunStatus]], run_id: str
) -> AsyncGenerator[Event]:
    """The events of a run's log, and beside them what a look at it tells while they are awaited.

    Args:
        log: The log's events.
        look: Tells where the run stands.
        run_id: The run.
    """
    seen = _Seen(run_id)
    reading = asyncio.ensure_future(anext(log, None))
    looking: asyncio.Future[list[Event]] | None = None
    try:
        while True:
            if looking is None:
                looking = asyncio.ensure_future(_after_a_while(look, seen))
            await asyncio.wait({reading, looking}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                event = reading.result()
                if event is None:
                    return
                seen.take(event)
                yield event
                reading = asyncio.ensure_future(anext(log, None))
            elif looking.done():
                for event in looking.result():
                    yield event
                looking = None
    finally:
        for task in (reading, looking):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, DSPExError):
                    await task
        await log.aclose()


async def _after_a_while(look: Callable[[], Awaitable[RunStatus]], seen: "_Seen") -> list[Event]:
    await asyncio.sleep(LOOK_SECONDS)
    try:
        return seen.news_in(await look())
    except DSPExError:
        return []  # whatever it is, the log meets it, too, and says so


class _Seen:
    """What was told already, so that a look tells only what is new."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._progress = Progress()
        self._note: str | None = None

    def take(self, event: Event) -> None:
        """Take in an event of the log."""
        self._progress = self._progress.after(event)

    def news_in(self, status: RunStatus) -> list[Event]:
        """What a look tells beyond that."""
        found: list[Event] = []
        if status.note is not None and status.note != self._note:
            found.append(RunHeldUp(run_id=self._run_id, reason=status.note))
        self._note = status.note
        before, now = self._progress, status.progress
        if (
            now is not None
            and (now.phase, now.detail) == (before.phase, before.detail)
            and now.rows_done > before.rows_done
        ):
            rows = RowsEvaluated(run_id=self._run_id, rows=now.rows_done, score=now.phase_score, usage=now.phase_usage)
            self._progress = before.after(rows)
            found.append(rows)
        return found
