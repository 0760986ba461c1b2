import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from dspex_core.reports._charts import Chart, front_chart, score_chart
from dspex_core.reports._front import pareto_front, prompt_size
from dspex_core.reports._plot import svg_of
from dspex_core.reports._significance import Gain, gain_of
from dspex_core.seam import PredictorState, ProgramState
from dspex_core.usage import Usage

if TYPE_CHECKING:
    import jinja2

ROWS_SHOWN = 200
"""Most rows of each kind that a page shows."""


class ReportedCandidate(Protocol):
    """A scored state, as `dspex_core.optimizers.Candidate` is one."""

    @property
    def index(self) -> int:
        """Its place in the search."""
        ...

    @property
    def label(self) -> str:
        """How it came to be."""
        ...

    @property
    def state(self) -> ProgramState:
        """Instructions and demos."""
        ...

    @property
    def score(self) -> float:
        """Percent on the rows it was scored on."""
        ...

    @property
    def failed(self) -> int:
        """Rows on which the program failed."""
        ...

    @property
    def parent(self) -> int | None:
        """Index of the candidate that it was made from."""
        ...

    @property
    def rows(self) -> int | None:
        """Rows it was scored on, where these are not all."""
        ...

    @property
    def estimate(self) -> float | None:
        """Percent it would probably have come to, where a race stopped its evaluation."""
        ...

    @property
    def likely_score(self) -> float:
        """The estimate, if there is one, or the score."""
        ...

    @property
    def usage(self) -> Usage:
        """What scoring it took."""
        ...


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What a page tells.

    Attributes:
        title: What was compiled, and how.
        candidates: Every state that was scored, in order; the first is the program as it was given.
        best: The state found.
        baseline_scores: Scores of the given program, a row, 0.0 to 1.0; empty if they are not known.
        best_scores: Scores of the best one, of the same rows.
        usage: What all of it took.
        scored_rows: Indices of these rows in their data set.
        rows: Values of rows by index, to be shown beside their scores; those that lack are shown by number only.
        facts: Anything else to say of the run, as pairs of name and value.
    """

    title: str
    candidates: Sequence[ReportedCandidate]
    best: ProgramState
    baseline_scores: Sequence[float] = ()
    best_scores: Sequence[float] = ()
    usage: Usage = field(default_factory=Usage)
    scored_rows: Sequence[int] = ()
    rows: Mapping[int, Mapping[str, Any]] = field(default_factory=dict[int, Mapping[str, Any]])
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class _Predictor:
    """What became of one predictor."""

    name: str
    diff: list[tuple[str, str]]
    fields: list[str]
    demos: list[list[str]]


@dataclass(frozen=True)
class _Row:
    """A row that one of two programs does better on."""

    number: int
    before: float
    after: float
    shown: str


def report_page(told: Reported) -> str:
    """One page of HTML that needs nothing else: charts, instructions, demos, rows won and lost, cost.

    Whatever models and data hold is shown as text; nothing of it runs.
    """
    whole = [candidate for candidate in told.candidates if candidate.rows is None]
    given = whole[0].state if whole else told.best
    gain = gain_of(told.baseline_scores, told.best_scores) if told.baseline_scores else None
    front = pareto_front(whole)
    charts: list[Chart] = [score_chart(told.candidates), front_chart(whole, front)] if whole else []
    return _template().render(
        told=told,
        charts=charts,
        svg_of=svg_of,
        gain=gain,
        verdict=_verdict(gain),
        best=max(whole, key=lambda candidate: (candidate.score, candidate.index), default=None),
        baseline=whole[0] if whole else None,
        front={candidate.index for candidate in front},
        sizes={candidate.index: prompt_size(candidate.state) for candidate in told.candidates},
        predictors=[_predictor(name, given.predictors.get(name), best) for name, best in told.best.predictors.items()],
        won=_rows(told, better=True),
        lost=_rows(told, better=False),
        rows_shown=ROWS_SHOWN,
    )


def fold_facts(gains: Sequence[float]) -> list[tuple[str, str]]:
    """What a page says of a cross-validation, given each fold's gain in points; nothing if there were no folds."""
    if not gains:
        return []
    told = f"{fmean(gains):+.2f} points on average, from {min(gains):+.2f} to {max(gains):+.2f}"
    return [(f"gain in {len(gains)} folds", told)]


def _verdict(gain: Gain | None) -> str:
    if gain is None:
        return "The rows' scores are not known, so nothing can be said of how sure the gain is."
    interval = f"95 % interval {gain.low:+.2f} to {gain.high:+.2f} points"
    if gain.won == gain.lost == 0:
        return "Both score the same on every row."
    if gain.low > 0:
        return f"The gain is more than chance ({interval})."
    return f"The gain may be chance ({interval}; no gain at all with probability {gain.chance:.3f})."


def _predictor(name: str, before: PredictorState | None, after: PredictorState) -> _Predictor:
    old = before.instructions.splitlines() if before else []
    lines = difflib.ndiff(old, after.instructions.splitlines())
    fields = list(dict.fromkeys(key for demo in after.demos for key in demo))
    return _Predictor(
        name=name,
        diff=[(line[0], line[2:]) for line in lines if not line.startswith("?")],
        fields=fields,
        demos=[[_shown(demo.get(key)) for key in fields] for demo in after.demos],
    )


def _rows(told: Reported, *, better: bool) -> list[_Row]:
    found: list[_Row] = []
    for number, before, after in zip(told.scored_rows, told.baseline_scores, told.best_scores, strict=True):
        if (after > before) if better else (after < before):
            found.append(_Row(number, before, after, _shown(told.rows.get(number))))
    return found


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@cache
def _template() -> "jinja2.Template":
    # Made where the first page is: most who import this write none.
    import jinja2  # noqa: PLC0415

    source = files("dspex_core.reports").joinpath("page.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
