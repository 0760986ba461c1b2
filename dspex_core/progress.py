"""How far a compile is: events folded into one value, the same for a run in this process and a durable one."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict

from dspex_core.events import (
    CandidateEvaluated,
    Event,
    OptimizerFinished,
    OptimizerStarted,
    PhaseStarted,
    RowsEvaluated,
    UsageAdded,
)
from dspex_core.usage import Usage


class Progress(BaseModel):
    """Where a compile stands.

    Attributes:
        optimizer: Its class name.
        phase: What it does now.
        detail: More about the phase, for a person.
        rows_total: Rows the phase goes through, if that is known.
        rows_done: Rows done in the phase.
        phase_score: Mean score of those rows in percent.
        phase_usage: What the phase took so far.
        candidates: Candidates scored so far, in order.
        usage: What all phases before this one took.
        finished: Whether there is a result.
    """

    model_config = ConfigDict(frozen=True)

    optimizer: str = ""
    phase: str = "starting"
    detail: str = ""
    rows_total: int | None = None
    rows_done: int = 0
    phase_score: float | None = None
    phase_usage: Usage = Usage()
    candidates: tuple[CandidateEvaluated, ...] = ()
    usage: Usage = Usage()
    finished: bool = False

    @property
    def baseline_score(self) -> float | None:
        """Score of the program as it was given, in percent."""
        return self.candidates[0].score if self.candidates else None

    @property
    def best_score(self) -> float | None:
        """Best score so far in percent, of candidates scored on all rows."""
        return max((candidate.score for candidate in self.candidates if candidate.rows is None), default=None)

    @property
    def usage_so_far(self) -> Usage:
        """What everything took up to now."""
        return self.usage + self.phase_usage

    def after(self, event: Event) -> "Progress":  # noqa: PLR0911 - one return for each kind of event
        """The progress once this has happened."""
        match event:
            case OptimizerStarted():
                return Progress(optimizer=event.optimizer)
            case PhaseStarted():
                return self._phase(phase=event.phase, detail=event.detail, rows_total=event.rows)
            case RowsEvaluated():
                change = {"rows_done": event.rows, "phase_score": event.score, "phase_usage": event.usage}
                return self.model_copy(update=change)
            case UsageAdded():
                return self.model_copy(update={"usage": self.usage + event.usage, "phase_usage": Usage()})
            case CandidateEvaluated():
                return self.model_copy(update={"candidates": (*self.candidates, event)})
            case OptimizerFinished():
                return self._phase(phase="finished").model_copy(update={"finished": True})
            case _:
                return self

    def _phase(self, *, phase: str, detail: str = "", rows_total: int | None = None) -> "Progress":
        return self.model_copy(
            update={
                "phase": phase,
                "detail": detail,
                "rows_total": rows_total,
                "rows_done": 0,
                "phase_score": None,
                "phase_usage": Usage(),
            }
        )


class RowTally:
    """Rows of evaluations that run side by side, told as one count; it starts anew once none is under way.

    Args:
        tell: Told the count whenever rows are done.
    """

    def __init__(self, tell: Callable[[RowsEvaluated], None]) -> None:
        self._tell = tell
        self._under_way = 0
        self._rows = 0
        self._total = 0.0
        self._usage = Usage()

    @contextmanager
    def evaluation(self) -> Generator[None]:
        """One evaluation, as long as it is under way."""
        if self._under_way == 0:
            self._rows, self._total, self._usage = 0, 0.0, Usage()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def add(self, *, rows: int, total: float, usage: Usage) -> None:
        """Count rows that are done, with the sum of their scores."""
        self._rows += rows
        self._total += total
        self._usage += usage
        if self._rows:
            score = round(100 * self._total / self._rows, 2)
            self._tell(RowsEvaluated(rows=self._rows, score=score, usage=self._usage))
