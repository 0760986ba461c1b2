"""How far a compile is: events folded into one value, the same for a run in this process and a durable one."""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from dspex_core.budget import Limits
from dspex_core.events import (
    BreakerChanged,
    BudgetSet,
    CandidateEvaluated,
    Event,
    OptimizerFinished,
    OptimizerStarted,
    PhaseStarted,
    RowsEvaluated,
    UsageAdded,
)
from dspex_core.usage import Usage

_PACE_SECONDS = 30.0
_BREAKER_WORD_SECONDS = 180.0
"""A model that fails for two minutes is waited for no longer: its run parks, or another worker has taken the work."""


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
        budget: What it may take in all; None if nothing limits it.
        breakers: Models that are left alone because they kept failing, as far as that is told.
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
    budget: Limits | None = None
    breakers: tuple[BreakerChanged, ...] = ()

    @property
    def baseline_score(self) -> float | None:
        """Score of the program as it was given, in percent."""
        return self.candidates[0].score if self.candidates else None

    @property
    def best_score(self) -> float | None:
        """Best score so far in percent, of candidates scored on all rows."""
        return max((candidate.score for candidate in self.candidates if candidate.rows is None), default=None)

    def left_alone(self, at: datetime) -> tuple[BreakerChanged, ...]:
        """Of `breakers`, those whose word is not too old at that moment: a worker that died takes none back."""
        latest = timedelta(seconds=_BREAKER_WORD_SECONDS)
        return tuple(each for each in self.breakers if each.at is None or at - each.at <= latest)

    @property
    def usage_so_far(self) -> Usage:
        """What everything took up to now."""
        return self.usage + self.phase_usage

    def after(self, event: Event) -> "Progress":  # noqa: PLR0911 - one return for each kind of event
        """The progress once this has happened."""
        match event:
            case OptimizerStarted():
                return Progress(optimizer=event.optimizer, budget=self.budget)
            case PhaseStarted():
                return self._phase(phase=event.phase, detail=event.detail, rows_total=event.rows)
            case RowsEvaluated():
                change = {"rows_done": event.rows, "phase_score": event.score, "phase_usage": event.usage}
                return self.model_copy(update=change)
            case UsageAdded():
                return self.model_copy(update={"usage": self.usage + event.usage, "phase_usage": Usage()})
            case CandidateEvaluated():
                return self.model_copy(update={"candidates": (*self.candidates, event)})
            case BudgetSet():
                return self.model_copy(update={"budget": event.budget})
            case BreakerChanged():
                return self._breaker(event)
            case OptimizerFinished():
                return self._phase(phase="finished").model_copy(update={"finished": True})
            case _:
                return self

    def shown_after(self, event: Event) -> "Progress":
        """The same for who watches a durable run: its log counts rows of evaluations that ended, its looks all rows.

        So what the log says of rows may be less than what a look said before, and is no step back.
        """
        if isinstance(event, RowsEvaluated) and event.offset is not None and event.rows < self.rows_done:
            return self
        return self.after(event)

    def _phase(self, *, phase: str, detail: str = "", rows_total: int | None = None) -> "Progress":
        return self.model_copy(
            update={
                "phase": phase,
                "detail": detail,
                "rows_total": rows_total,
                "rows_done": 0,
                "phase_score": None,
                "phase_usage": Usage(),
                # Every call of the phase before has its answer, so no model is waited for.
                "breakers": (),
            }
        )

    def _breaker(self, event: BreakerChanged) -> "Progress":
        others = [each for each in self.breakers if (each.model, each.endpoint) != (event.model, event.endpoint)]
        return self.model_copy(update={"breakers": tuple(others if event.state == "closed" else [*others, event])})


def moment_of(event: Event) -> datetime:
    """When an event happened: as its log says, or now."""
    return event.at or datetime.now(UTC)


class Pace:
    """How fast rows are done, by those of the last half minute."""

    def __init__(self) -> None:
        self._phase = ("", "")
        self._seen: deque[tuple[float, int]] = deque()

    def take(self, progress: Progress, *, at: float) -> None:
        """Take in where it stands at a moment, in seconds of any clock that only rises."""
        phase = (progress.phase, progress.detail)
        if phase != self._phase or (self._seen and progress.rows_done < self._seen[-1][1]):
            self._phase = phase
            self._seen.clear()
        if not self._seen or progress.rows_done != self._seen[-1][1]:
            self._seen.append((at, progress.rows_done))
        while len(self._seen) > 2 and self._seen[1][0] < at - _PACE_SECONDS:  # noqa: PLR2004 - a pace takes two
            self._seen.popleft()

    def rows_per_second(self, *, at: float) -> float | None:
        """Rows a second; None while that is not known."""
        if not self._seen:
            return None
        (began, before), (_, now) = self._seen[0], self._seen[-1]
        return (now - before) / (at - began) if now > before and at > began else None

    def seconds_left(self, progress: Progress, *, at: float) -> float | None:
        """Time that the rest of the phase's rows will take at that pace; None while that is not known."""
        pace = self.rows_per_second(at=at)
        if pace is None or progress.rows_total is None or progress.finished:
            return None
        return max(progress.rows_total - progress.rows_done, 0) / pace


class RowTally:
    """Rows of evaluations that run side by side, told as one count; it starts anew once none is under way.

    Args:
        tell: Told the count whenever rows are done.
        wanted: Whether anybody is to be told: as long as nobody is, rows are put aside and not counted.
    """

    def __init__(self, tell: Callable[[RowsEvaluated], None], *, wanted: Callable[[], bool] = lambda: True) -> None:
        self._tell = tell
        self._wanted = wanted
        self._aside: list[tuple[int, float, Usage]] = []
        self._under_way = 0
        self._rows = 0
        self._total = 0.0
        self._usage = Usage()

    @contextmanager
    def evaluation(self) -> Generator[None]:
        """One evaluation, as long as it is under way."""
        if self._under_way == 0:
            self._rows, self._total, self._usage = 0, 0.0, Usage()
            self._aside.clear()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def add(self, *, rows: int, total: float, usage: Usage) -> None:
        """Count rows that are done, with the sum of their scores."""
        self._aside.append((rows, total, usage))
        if not self._wanted():
            return
        for more, score_of_more, usage_of_more in self._aside:
            self._rows += more
            self._total += score_of_more
            self._usage += usage_of_more
        self._aside.clear()
        if self._rows:
            score = round(100 * self._total / self._rows, 2)
            self._tell(RowsEvaluated(rows=self._rows, score=score, usage=self._usage))
