import sys
import time
from collections.abc import AsyncIterable, Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dspex.cli._shell import say
from dspex_core.events import CandidateEvaluated, Event, PhaseStarted, RunHeldUp, RunParked, RunPaused, RunResumed
from dspex_core.progress import Progress
from dspex_core.usage import Usage


class ProgressView:
    """Shows a compile's progress: a live panel on a terminal, plain lines in a pipe."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._phase_began = time.monotonic()
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
        if self._live is not None:
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
        before, self._progress = self._progress, self._progress.after(event)
        if isinstance(event, PhaseStarted):
            self._phase_began = time.monotonic()
        if isinstance(event, RunHeldUp):
            self.say(event.reason)
        elif isinstance(event, RunParked):
            self.say(f"parked: {event.reason}; the run keeps everything, and goes on with: dspex runs resume ID")
        elif isinstance(event, RunPaused):
            self.say("paused; the run goes on with: dspex runs resume ID")
        elif isinstance(event, RunResumed):
            self.say("resumed")
        elif self._live is None:
            line = _plain(event, self._progress, before)
            if line:
                say(line)

    def _panel(self) -> Group:
        progress = self._progress
        head = Text.assemble((progress.phase, "bold"), f"  {progress.detail}" if progress.detail else "")
        lines: list[Text | Table] = [head]
        if progress.rows_total:
            lines.append(self._bar(progress, progress.rows_total))
        if progress.best_score is not None:
            lines.append(Text(f"best {progress.best_score:.2f} %   baseline {progress.baseline_score:.2f} %"))
        lines.append(Text(usage_line(progress.usage_so_far), style="dim"))
        return Group(*lines)

    def _bar(self, progress: Progress, total: int) -> Table:
        table = Table.grid(padding=(0, 1))
        score = "" if progress.phase_score is None else f"{progress.phase_score:.1f} %"
        table.add_row(
            ProgressBar(total=total, completed=progress.rows_done, width=30),
            f"{progress.rows_done}/{total} rows",
            score,
            self._eta(progress, total),
        )
        return table

    def _eta(self, progress: Progress, total: int) -> str:
        if not 0 < progress.rows_done < total:
            return ""
        spent = time.monotonic() - self._phase_began
        return f"{spent / progress.rows_done * (total - progress.rows_done):.0f} s left"


def usage_line(usage: Usage) -> str:
    """What calls took, for a person."""
    cost = "cost unknown" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"
    tokens = f"{usage.prompt_tokens + usage.completion_tokens:,} tokens"
    return f"{usage.lm_calls:,} LM calls, {usage.cached_calls:,} from the cache, {tokens}, {cost}"


def _plain(event: Event, progress: Progress, before: Progress) -> str | None:
    match event:
        case CandidateEvaluated():
            failed = f", {event.failed} rows failed" if event.failed else ""
            return f"{event.label}: {_scored(event)}{failed}; {usage_line(progress.usage)}"
        case PhaseStarted() if progress.phase != before.phase:
            return f"{event.phase}{f' ({event.rows} rows)' if event.rows else ''}"
        case _:
            return None


def _scored(candidate: CandidateEvaluated) -> str:
    if candidate.estimate is None:
        return f"{candidate.score:.2f} %"
    return f"about {candidate.estimate:.2f} %, out of the race after {candidate.rows} rows"
