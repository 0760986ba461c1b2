import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from dspex.client._status import RunStatus
from dspex_core.errors import DSPExError
from dspex_core.events import Event, RowsEvaluated, RunHeldUp
from dspex_core.progress import Progress

LOOK_SECONDS = 0.5
"""At least, between looks at a run."""
LONGEST_PAUSE_SECONDS = 10.0
TIMES_A_LOOK = 100.0
"""How many times as long as looks take the next one is waited for: however many watch, and however busy the server is
with them, each takes a hundredth of its own time at most."""
SILENT_SECONDS = 5.0
"""After this long with nothing new, the run's workers are asked why."""


@dataclass(frozen=True)
class Looks:
    """Ways to look at a run.

    Attributes:
        glance: Tells of rows under way and of trouble, given what the log says; the run itself is not asked.
        ask: Asks the run where it stands, which takes a worker.
    """

    glance: Callable[[Progress], Awaitable[RunStatus]]
    ask: Callable[[], Awaitable[RunStatus]]


async def beside(log: AsyncGenerator[Event], looks: Looks, run_id: str) -> AsyncGenerator[Event]:
    """The events of a run's log, and beside them what looks at it tell while they are awaited.

    Args:
        log: The log's events.
        looks: Ways to look.
        run_id: The run.
    """
    seen = _Seen(run_id)
    reading = asyncio.ensure_future(anext(log, None))
    looking: asyncio.Future[list[Event]] | None = None
    try:
        while True:
            if looking is None:
                looking = asyncio.ensure_future(_after_a_while(looks, seen))
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


async def _after_a_while(looks: Looks, seen: "_Seen") -> list[Event]:
    pause = min(max(LOOK_SECONDS, TIMES_A_LOOK * min(seen.looks_took)), LONGEST_PAUSE_SECONDS)
    # Not all at once, though one event made all of them begin.
    await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
    began = time.monotonic()
    try:
        if began - seen.heard_at < SILENT_SECONDS:
            return seen.news_in(await looks.glance(seen.log))
        seen.heard_at = began
        return seen.news_in(await looks.ask())
    except DSPExError:
        return []  # whatever it is, the log meets it, too, and says so
    finally:
        seen.looks_took.append(time.monotonic() - began)


class _Seen:
    """What was told already, so that a look tells only what is new.

    Attributes:
        log: What the log alone has told.
        heard_at: When something new was told last, or the run was asked.
        looks_took: How long the last two looks took, in seconds: one alone may have met a hiccup, like the first.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._progress = Progress()
        self._note: str | None = None
        self.log = Progress()
        self.heard_at = time.monotonic()
        self.looks_took = deque([0.0, 0.0], maxlen=2)

    def take(self, event: Event) -> None:
        """Take in an event of the log."""
        self._progress = self._progress.shown_after(event)
        self.log = self.log.after(event)
        self.heard_at = time.monotonic()

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
        if found:
            self.heard_at = time.monotonic()
        return found
