import sys
from collections.abc import AsyncIterable, Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

from dspex.cli._panel import Sight, panel
from dspex.cli._shell import say
from dspex.cli._words import duration, scored_in_words, usage_line
from dspex.client import word_after
from dspex_core.events import (
    BreakerChanged,
    BudgetSet,
    CandidateEvaluated,
    Event,
    OptimizationStep,
    PhaseStarted,
    RunHeldUp,
    RunParked,
    RunPaused,
    RunResumed,
    UsageAdded,
)
from dspex_core.progress import Pace, Progress, moment_of

FINE_TUNING = "fine-tuning"
"""The phase of which every news is told: it takes minutes in which there is no other."""


class ProgressView:
    """Shows a compile's progress: a live panel on a terminal, plain lines in a pipe.

    Args:
        run_id: Its id, if it is a durable run, to say how it goes on.
        hint: What Ctrl-C does, for the panel.
    """

    def __init__(self, *, run_id: str | None = None, hint: str = "") -> None:
        self._run_id = run_id
        self._hint = hint
        self._progress = Progress()
        self._pace = Pace()
        self._scored = ""
        self._standing = ""
        self._held_since: datetime | None = None
        self._held_seconds = 0.0
        self._began = datetime.now(UTC)
        self._live: Live | None = None
        if sys.stderr.isatty():
            self._live = Live(console=Console(stderr=True), get_renderable=self._panel, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scored:
            say(self._scored)
        if self._live is not None:
            self._hint = ""  # the last panel stays on the screen
            self._live.stop()

    @property
    def progress(self) -> Progress:
        """Where the compile stands."""
        return self._progress

    @property
    def say(self) -> Callable[[str], None]:
        """Writes a line above the live panel, or among the plain lines."""
        live = self._live
        return say if live is None else (lambda line: live.console.print(line, markup=False, highlight=False))

    async def follow(self, events: AsyncIterable[Event]) -> None:
        """Show events until there are no more."""
        async for event in events:
            self.show(event)

    def show(self, event: Event) -> None:
        """Take an event in."""
        before, self._progress = self._progress, self._progress.shown_after(event)
        self._pace.take(self._progress, at=moment_of(event).timestamp())
        if event.at is not None:
            self._began = min(self._began, event.at)
        if isinstance(event, (RunPaused, RunParked, RunResumed)):
            self._take_standing(event)
        if line := self._always(event):
            self.say(line)
        elif self._live is None:
            self._tell_plainly(event, before)

    def _take_standing(self, event: RunPaused | RunParked | RunResumed) -> None:
        self._standing = {"run_paused": "paused", "run_parked": "parked"}.get(event.type, "")
        at = moment_of(event)
        if self._standing:
            self._held_since = self._held_since or at
        elif self._held_since is not None:
            self._held_seconds += (at - self._held_since).total_seconds()
            self._held_since = None

    def _always(self, event: Event) -> str | None:  # noqa: PLR0911 - one return for each kind of event
        """What is said on a terminal, too."""
        run_id = self._run_id or "ID"
        match event:
            case RunHeldUp():
                return event.reason
            case RunParked():
                words = f"dspex runs {word_after(event.reason)} {run_id}"
                return f"parked: {event.reason}; the run keeps everything, and goes on with: {words}"
            case RunPaused():
                return f"paused; the run goes on with: dspex runs resume {run_id}"
            case RunResumed():
                return "resumed"
            case BreakerChanged() if event.state == "open":
                wait = f"tried again in {duration(event.tries_again_in_seconds)}"
                return f"breaker open: {event.model} keeps failing and is {wait}; {event.reason}".rstrip("; ")
            case BreakerChanged() if event.state == "closed":
                return f"breaker closed: {event.model} answers again"
            case _:
                return None

    def _plain(self, event: Event, before: Progress) -> str | None:
        """What is said where no panel shows it."""
        match event:
            case CandidateEvaluated():
                failed = f", {event.failed} rows failed" if event.failed else ""
                return f"{event.label}: {scored_in_words(event)}{failed}"
            case PhaseStarted() if self._progress.phase != before.phase:
                return f"{event.phase}{f' ({event.rows} rows)' if event.rows else ''}"
            case PhaseStarted() if event.phase == FINE_TUNING and event.detail != before.detail:
                return f"{event.phase}: {event.detail}"
            case BudgetSet() if event.budget is not None:
                return f"budget: {event.budget}"
            case _:
                return None

    def _tell_plainly(self, event: Event, before: Progress) -> None:
        """Say a candidate's line with what follows it: what everything took is known once all of a step are scored."""
        if self._scored and not isinstance(event, UsageAdded):
            ends_step = isinstance(event, OptimizationStep)
            say(f"{self._scored}; {usage_line(self._progress.usage)}" if ends_step else self._scored)
            self._scored = ""
        line = self._plain(event, before)
        if isinstance(event, CandidateEvaluated):
            self._scored = line or ""
        elif line:
            say(line)

    def _panel(self) -> RenderableType:
        today = datetime.now(UTC)
        now = today.timestamp()
        held = 0.0 if self._held_since is None else (today - self._held_since).total_seconds()
        return panel(
            Sight(
                progress=self._progress,
                standing=self._standing,
                seconds=max(0.0, (today - self._began).total_seconds()),
                held_seconds=self._held_seconds + max(0.0, held),
                rows_per_second=self._pace.rows_per_second(at=now),
                seconds_left=self._pace.seconds_left(self._progress, at=now),
                hint=self._hint,
                at=today,
            )
        )
