"""One run followed for all browsers: its events, folded into what a page shows."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dspex.client import Run, RunStatus
from dspex_core.errors import DSPExError
from dspex_core.events import CandidateProposed, Event, RunParked, RunPaused, RunResumed
from dspex_core.progress import Pace, Progress, moment_of
from dspex_core.seam import ProgramState

STATUS_SECONDS = 2.0
"""Longest time between looks at a run's status while its events tell of nothing that changes it."""
_PAUSE_SECONDS = 0.15
"""Between two values: events that come in a burst are shown at once."""
EVENTS_KEPT = 2000
_QUIET = frozenset({"rows_evaluated", "candidate_proposed", "candidate_evaluated", "usage_added", "optimization_step"})
"""Types of events after which a run's status is what it was before."""
ENDED = ("completed", "cancelled", "failed")
_Standing = RunPaused | RunParked | RunResumed


@dataclass(frozen=True)
class LoggedEvent:
    """An event, and when it came."""

    at: datetime
    event: Event


@dataclass(frozen=True)
class RunView:
    """A run as its page shows it.

    Attributes:
        status: Where it stands, with the progress that its events tell.
        states: What each candidate is, by index, as far as that is known.
        log: Its events, the oldest first, without those that tell of rows.
        seconds_left: How long the phase will take at the rate of its rows of late, if that can be told.
        began: When its first event was.
    """

    status: RunStatus
    states: dict[int, ProgramState] = field(default_factory=dict[int, ProgramState])
    log: tuple[LoggedEvent, ...] = ()
    seconds_left: float | None = None
    began: datetime | None = None

    @property
    def is_compile(self) -> bool:
        """Whether it searches for a program, rather than runs one."""
        return self.status.is_compile

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status.status in ENDED

    @property
    def has_program(self) -> bool:
        """Whether it has ended with a program that it scored."""
        return self.progress.finished and self.status.score is not None

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self.status.progress or Progress()


async def follow(run: Run, stirred: asyncio.Event) -> AsyncGenerator[RunView]:
    """A run as it is now, and whenever it has changed, until it has ended.

    Raises:
        DSPExError: If it cannot be followed; whoever follows may begin again.
    """
    status = await run.status()
    fold = _Fold()
    reading = asyncio.create_task(_read(run, fold, stirred))
    asking: _Asking | None = None
    try:
        while True:
            stirred.clear()
            if status.status not in ENDED:
                yield fold.view(status)
            if reading.done():
                await reading
                yield await _at_the_end(run, fold)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stirred.wait(), STATUS_SECONDS)
            await asyncio.sleep(_PAUSE_SECONDS)
            # A busy worker may take long to answer; what the log says meanwhile is shown.
            if asking is not None and asking.task.done():
                status, asking = fold.answered(asking), None
            elif asking is None and (not fold.quiet or not stirred.is_set()):
                fold.quiet = True
                asking = _Asking(asyncio.create_task(run.status()), fold.standing)
                asking.task.add_done_callback(lambda _: stirred.set())
    finally:
        for task in (reading, *([asking.task] if asking is not None else [])):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, DSPExError):
                await task


async def _read(run: Run, fold: "_Fold", stirred: asyncio.Event) -> None:
    try:
        async for event in run.events():
            fold.take(event)
            stirred.set()
    finally:
        stirred.set()


async def _at_the_end(run: Run, fold: "_Fold") -> RunView:
    status = await run.status()
    if status.is_compile:
        with contextlib.suppress(DSPExError):  # it ended without a result
            for candidate in (await run.output()).candidates:
                fold.states[candidate.index] = candidate.state
    return fold.view(status)


@dataclass(frozen=True)
class _Asking:
    """A status that is being asked for, and how the run stood by its log when that began."""

    task: asyncio.Task[RunStatus]
    standing: _Standing | None


class _Fold:
    """What a run's events have told so far.

    Attributes:
        standing: The last event that held the run up or let it go on, as long as no status asked for later is known.
        states: Candidates' states by index.
        quiet: Whether no event came that may change the run's status since this was last set.
    """

    def __init__(self) -> None:
        self.standing: _Standing | None = None
        self.states: dict[int, ProgramState] = {}
        self.quiet = True
        self._since = datetime.now(UTC)
        self._progress = Progress()
        self._log: list[LoggedEvent] = []
        self._began: datetime | None = None
        self._pace = Pace()

    def take(self, event: Event) -> None:
        """Take an event in."""
        self._progress = self._progress.shown_after(event)
        self._pace.take(self._progress, at=moment_of(event).timestamp())
        self._began = self._began or event.at
        if isinstance(event, CandidateProposed):
            self.states[event.index] = ProgramState.model_validate(event.state)
        if isinstance(event, _Standing) and moment_of(event) >= self._since:
            self.standing = event
        self.quiet = self.quiet and event.type in _QUIET
        if event.type != "rows_evaluated":
            self._log.append(LoggedEvent(moment_of(event), event))
            del self._log[:-EVENTS_KEPT]

    def answered(self, asking: _Asking) -> RunStatus:
        """The status that was asked for."""
        if self.standing is asking.standing:
            self.standing = None
        return asking.task.result()

    def view(self, status: RunStatus) -> RunView:
        """The run as it is now, given its status."""
        if self.standing is not None and status.status not in ENDED:
            status = status.model_copy(update=_stands(self.standing))
        told, known = self._progress, status.progress or Progress()
        if known.finished:
            same = [each.index for each in told.candidates] == [each.index for each in known.candidates]
            # Those of the log have the times at which they were scored.
            kept = {"candidates": told.candidates} if same else {}
            status = status.model_copy(update={"progress": known.model_copy(update=kept)})
        elif len(told.candidates) >= len(known.candidates):
            known_better = {
                "progress": told.model_copy(update={"optimizer": known.optimizer or told.optimizer}),
                "score": told.best_score,
                "baseline_score": told.baseline_score,
                "usage": told.usage_so_far,
            }
            status = status.model_copy(update=known_better)
        update: dict[str, Any] = {"budget": told.budget or status.budget}
        if status.status not in ENDED and self._began is not None:
            # A status is asked for now and then only, and time goes on.
            update["seconds"] = max(status.seconds, time.time() - self._began.timestamp())
        status = status.model_copy(update=update)
        left = self._pace.seconds_left(told, at=time.time())
        return RunView(status, dict(self.states), tuple(self._log), left, self._began)


def _stands(event: _Standing) -> dict[str, Any]:
    if isinstance(event, RunParked):
        return {"status": "parked", "parked_reason": event.reason}
    return {"status": "paused" if isinstance(event, RunPaused) else "running", "parked_reason": None}
