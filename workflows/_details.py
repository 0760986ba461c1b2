"""Where a compile stands, in Markdown for Temporal's Web UI."""

from dspex_core.events import CandidateEvaluated, Event, OptimizerStarted
from dspex_core.progress import Progress


class CandidateTable:
    """The candidates of a compile, a line each, and the best score among them.

    A line is written once, when its candidate has its score: however many there are, another costs no more than the
    first did.
    """

    def __init__(self) -> None:
        self.best_score: float | None = None
        self._lines: list[str] = []

    def take(self, event: Event) -> None:
        """Take in what happened."""
        if isinstance(event, OptimizerStarted):
            self.best_score, self._lines = None, []
        elif isinstance(event, CandidateEvaluated):
            self._lines.append(line_of(event))
            if event.rows is None:
                self.best_score = event.score if self.best_score is None else max(self.best_score, event.score)

    def markdown(self) -> str:
        """The best score and the table; nothing before a candidate was scored on all rows."""
        if self.best_score is None:
            return ""
        best = f"best score so far: **{self.best_score:.2f} %**\n"
        return "\n".join([best, "| candidate | how | score | failed rows |", "|---|---|---|---|", *self._lines])


def line_of(candidate: CandidateEvaluated) -> str:
    """A candidate's line in the table."""
    return f"| {candidate.index} | {candidate.label} | {_scored(candidate)} | {candidate.failed} |"


def details_of(progress: Progress, table: CandidateTable) -> str:
    """Where a compile stands."""
    usage = progress.usage_so_far
    cost = "unknown" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"
    parts = (
        f"**{progress.phase}** {progress.detail}".strip(),
        table.markdown(),
        f"{usage.lm_calls} LM calls, {usage.cached_calls} from the cache, cost {cost}",
    )
    return "\n\n".join(filter(None, parts))


def _scored(candidate: CandidateEvaluated) -> str:
    if candidate.estimate is not None:
        return f"about {candidate.estimate:.2f} %, out of the race after {candidate.rows} rows"
    rows = "" if candidate.rows is None else f" on {candidate.rows} rows"
    return f"{candidate.score:.2f} %{rows}"
