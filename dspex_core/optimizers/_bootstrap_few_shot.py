import random
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from dspex_core.optimizers._base import Optimizer
from dspex_core.optimizers._labeled_few_shot import labeled_state
from dspex_core.optimizers._result import P
from dspex_core.optimizers._search import Search
from dspex_core.seam import ProgramState, RowTrace, TraceRequest

FEWEST_ROWS_A_REQUEST = 25
"""Rows handed over at once, so that progress is seen."""
MOST_REQUESTS = 200
"""Requests that the whole trainset is split into at most, so that a run's history stays small."""


class BootstrapFewShot(Optimizer):
    """Lets a teacher solve training rows and shows its successful runs as demos, filled up with labeled rows.

        optimizer = BootstrapFewShot(metric="exact_match", max_bootstrapped_demos=2)
        best = await optimizer.compile(program, trainset=trainset, valset=valset)
        best.program.save("triage.json")

    Attributes:
        metric_threshold: Least score of a run worth showing; None accepts whatever the metric finds truthy.
        max_bootstrapped_demos: Most demos from the teacher's runs, per predictor.
        max_labeled_demos: Most demos in all that labeled rows fill up to, per predictor.
        max_rounds: Tries per row; each after the first is a fresh sample at temperature 1.

    Source: Khattab et al. 2023, "DSPy: Compiling Declarative Language Model Calls into Self-Improving Pipelines",
    section 4 and appendix E.1; semantics as in DSPy 3. As many rows are tried at once as demos are still missing: what
    is accepted, and the calls made, are those of going row by row.
    """

    name: ClassVar[str] = "bootstrap_few_shot"
    beside_baseline: ClassVar[bool] = True

    metric_threshold: float | None = None
    max_bootstrapped_demos: int = Field(default=4, ge=0)
    max_labeled_demos: int = Field(default=16, ge=0)
    max_rounds: int = Field(default=1, ge=1)

    async def search(self, search: Search[P]) -> ProgramState:
        """Bootstrap on all rows in their order, and score the result."""
        state = await self.bootstrapped(search, range(len(search.trainset)))
        await search.evaluate(state, "bootstrapped demos")
        return state

    async def bootstrapped(self, search: Search[P], rows: Sequence[int]) -> ProgramState:
        """The student's state with demos bootstrapped from training rows, tried in this order, and filled up."""
        teacher = await self._teacher(search, rows)
        accepted = await self._bootstrap(search, teacher, rows)
        return await self._fill_up(search, accepted, rows)

    async def _teacher(self, search: Search[P], rows: Sequence[int]) -> P:
        """The teacher given; one without demos is shown labeled rows first."""
        teacher = search.teacher or search.student
        state = teacher.get_state()
        if self.max_labeled_demos == 0 or any(predictor.demos for predictor in state.predictors.values()):
            return teacher
        labeled = await labeled_state(search, self.max_labeled_demos, seed=self.seed, rows=rows)
        return teacher.with_state(state.with_demos({name: p.demos for name, p in labeled.predictors.items()}))

    async def _bootstrap(self, search: Search[P], teacher: P, rows: Sequence[int]) -> list[RowTrace]:
        """The first successful runs in row order, at most `max_bootstrapped_demos` of them."""
        step = max(FEWEST_ROWS_A_REQUEST, -(-len(rows) // MOST_REQUESTS))
        accepted: list[RowTrace] = []
        for start in range(0, len(rows), step):
            wanted = self.max_bootstrapped_demos - len(accepted)
            if wanted == 0:
                break
            detail = f"{len(accepted)} of {self.max_bootstrapped_demos} found, {start} of {len(rows)} rows tried"
            search.phase("bootstrapping demos", detail=detail)
            request = TraceRequest(
                rows=tuple(rows[start : start + step]),
                wanted=wanted,
                metric=self.metric,
                threshold=self.metric_threshold,
                rounds=self.max_rounds,
                lm=search.teacher_lm or search.task_lm,
            )
            accepted += (await search.trace(teacher, request)).accepted
        return accepted

    async def _fill_up(self, search: Search[P], accepted: list[RowTrace], rows: Sequence[int]) -> ProgramState:
        """Bootstrapped demos first, then labeled rows that were not bootstrapped, drawn for each predictor."""
        rng = random.Random(self.seed)  # noqa: S311 - repeatable by design
        used = {trace.row for trace in accepted}
        rest = [row for row in rows if row not in used]
        random.Random(self.seed).shuffle(rest)  # noqa: S311 - as above
        state = search.student.get_state()
        demos: dict[str, tuple[dict[str, Any], ...]] = {}
        for name in state.predictors:
            bootstrapped = self._demos_of(name, accepted)
            missing = max(0, self.max_labeled_demos - len(bootstrapped))
            labeled = rng.sample(rest, min(missing, len(rest)))
            demos[name] = (*bootstrapped, *await search.labeled_demos(labeled))
        return state.with_demos(demos)

    def _demos_of(self, name: str, accepted: list[RowTrace]) -> list[dict[str, Any]]:
        demos: list[dict[str, Any]] = []
        for trace in accepted:
            steps = trace.demos.get(name, [])
            if len(steps) > 1:
                # Of several calls on one row, one is shown: the last or, half the time, an earlier one.
                rng = random.Random(f"{self.seed}/{trace.row}/{name}")  # noqa: S311 - repeatable by design
                steps = [rng.choice(steps[:-1]) if rng.random() < 0.5 else steps[-1]]  # noqa: PLR2004 - half
            demos += steps
        return demos[: self.max_bootstrapped_demos]
