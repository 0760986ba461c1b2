"""What a terminal shows of a compile under way: a few lines that fit into 80 columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dspex.cli._words import duration, usage_line
from dspex_core.progress import Progress

_BAR_WIDTH = 24
_SPARKS = "▁▂▃▄▅▆▇█"
_SPARKS_SHOWN = 24
_NEARLY_SPENT = 0.9


@dataclass(frozen=True)
class Sight:
    """A compile at a moment.

    Attributes:
        progress: Where it stands.
        standing: "paused" or "parked", if it is held up.
        seconds: Since it began.
        held_seconds: How long of that it was held up.
        rows_per_second: How fast rows are done, if that is known.
        seconds_left: How long the phase will take at that pace.
        hint: What Ctrl-C does.
        at: The moment.
    """

    progress: Progress
    standing: str = ""
    seconds: float = 0.0
    held_seconds: float = 0.0
    rows_per_second: float | None = None
    seconds_left: float | None = None
    hint: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def panel(sight: Sight) -> RenderableType:
    """The lines."""
    progress = sight.progress
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(style="dim", no_wrap=True, width=6)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    if progress.rows_total:
        table.add_row("rows", _rows(sight, progress.rows_total))
    if progress.best_score is not None:
        table.add_row("score", _Scores(progress))
    if progress.budget is not None and (
        parts := progress.budget.taken(progress.usage_so_far, seconds=sight.seconds - sight.held_seconds)
    ):
        table.add_row("budget", _budget(parts))
    table.add_row("took", Text(usage_line(progress.usage_so_far)))
    table.add_row("faults", _faults(sight))
    lines: list[RenderableType] = [_head(sight), table]
    if sight.hint:
        lines.append(Text(sight.hint, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*lines)


def sparkline(values: Sequence[float], *, width: int = _SPARKS_SHOWN) -> str:
    """Values as a row of small bars, the lowest and the highest of them as the lowest and the highest bar.

    Of more values than fit, each bar shows the highest of those in its place.
    """
    if len(values) > width:
        edges = [round(len(values) * step / width) for step in range(width + 1)]
        values = [max(values[start:stop]) for start, stop in pairwise(edges)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return "".join(_SPARKS[round((value - low) / span * (len(_SPARKS) - 1))] for value in values)


def _head(sight: Sight) -> Table:
    progress = sight.progress
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True, justify="right")
    detail = "" if progress.detail in {"", progress.phase} else f"  {progress.detail}"
    standing = Text(f"{sight.standing}  ", style="bold yellow") if sight.standing else ""
    table.add_row(
        Text.assemble(standing, (progress.phase, "bold"), detail),
        Text(" · ".join(filter(None, [progress.optimizer, duration(sight.seconds)])), style="dim"),
    )
    return table


def _rows(sight: Sight, total: int) -> Table:
    progress = sight.progress
    said = [f"{progress.rows_done:,}/{total:,}"]
    if progress.phase_score is not None:
        said.append(f"{progress.phase_score:.1f} %")
    if sight.rows_per_second is not None and progress.rows_done < total and not sight.standing:
        said.append(f"{sight.rows_per_second:.1f}/s")
        if sight.seconds_left is not None:
            said.append(f"{duration(sight.seconds_left)} left")
    return _beside(ProgressBar(total=total, completed=progress.rows_done, width=_BAR_WIDTH), "  ".join(said))


def _budget(parts: Sequence[tuple[float, str]]) -> Table:
    share = parts[0][0]
    style = "yellow" if share >= _NEARLY_SPENT else "bar.complete"
    bar = ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH, complete_style=style, finished_style=style)
    return _beside(bar, f"{share:.0%}  {', '.join(told for _, told in parts)}")


def _faults(sight: Sight) -> Text:
    progress, broken = sight.progress, sight.progress.left_alone(sight.at)
    failed = sum(each.failed for each in progress.candidates)
    said = f"{progress.usage_so_far.retries:,} retries, {failed:,} rows failed, "
    if not broken:
        return Text.assemble(said, ("breaker closed", "green"))
    last = broken[-1]
    tried = "is tried again" if last.state == "half_open" else "is left alone"
    return Text.assemble(said, (f"breaker {last.state.replace('_', ' ')}: {last.model} {tried}", "bold red"))


def _beside(bar: ProgressBar, text: str) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=_BAR_WIDTH)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_row(bar, text)
    return table


class _Scores:
    """Best score, baseline, and every candidate's score as a sparkline, where the terminal has the characters."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The line."""
        progress = self._progress
        likely = [each.score if each.estimate is None else each.estimate for each in progress.candidates]
        best, baseline = progress.best_score or 0.0, progress.baseline_score or 0.0
        said = Text.assemble(("best ", ""), (f"{best:.2f} %", "bold"), f"  baseline {baseline:.2f} %  ")
        if not options.ascii_only:
            said.append(f"{sparkline(likely)}  ", style="cyan")
        said.append(f"{len(likely):,} candidate{'' if len(likely) == 1 else 's'}", style="dim")
        said.no_wrap, said.overflow = True, "ellipsis"
        yield said
