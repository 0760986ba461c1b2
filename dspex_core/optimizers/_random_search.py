from typing import ClassVar

from pydantic import Field

from dspex_core.optimizers._base import RacingOptimizer
from dspex_core.optimizers._bootstrap_few_shot import BootstrapFewShot
from dspex_core.optimizers._demo_sets import NO_DEMOS, demo_set
from dspex_core.optimizers._result import P
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._side_by_side import all_of
from dspex_core.seam import Dataset, ProgramState

PHASE = "evaluating sets of demos"


class BootstrapFewShotWithRandomSearch(RacingOptimizer):
    """Bootstraps many sets of demos, each from another order of the training rows, and keeps the best.

        optimizer = BootstrapFewShotWithRandomSearch(metric="exact_match", num_candidate_programs=4)
        best = await optimizer.compile(program, trainset=trainset, valset=valset)

    The sets are: no demos, labeled rows alone, a bootstrap on the rows in their order, and `num_candidate_programs`
    bootstraps on shuffled rows, each of a random size. They are made and scored side by side.

    Attributes:
        metric_threshold: Least score of a run worth showing; None accepts whatever the metric finds truthy.
        max_bootstrapped_demos: Most demos from the teacher's runs, per predictor.
        max_labeled_demos: Most demos in all that labeled rows fill up to, per predictor.
        max_rounds: Tries per row; each after the first is a fresh sample at temperature 1.
        num_candidate_programs: Shuffled sets.
        stop_at_score: Percent; the search ends with the first set that scores as much. Sets are tried one after the
            other then.

    Source: Khattab et al. 2023, "DSPy: Compiling Declarative Language Model Calls into Self-Improving Pipelines",
    appendix E.2; semantics as in DSPy 3. Without a validation set, the training rows score.
    """

    name: ClassVar[str] = "bootstrap_few_shot_with_random_search"
    beside_baseline: ClassVar[bool] = True

    metric_threshold: float | None = None
    max_bootstrapped_demos: int = Field(default=4, ge=0)
    max_labeled_demos: int = Field(default=16, ge=0)
    max_rounds: int = Field(default=1, ge=1)
    num_candidate_programs: int = Field(default=16, ge=0)
    stop_at_score: float | None = None

    def divided(self, trainset: Dataset, valset: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """Without a validation set, the training rows."""
        return trainset, trainset if valset is None else valset

    async def search(self, search: Search[P]) -> ProgramState:
        """Make every set of demos, and score them."""
        bootstrap = BootstrapFewShot(
            metric=self.metric,
            seed=self.seed,
            metric_threshold=self.metric_threshold,
            max_bootstrapped_demos=self.max_bootstrapped_demos,
            max_labeled_demos=self.max_labeled_demos,
            max_rounds=self.max_rounds,
        )
        numbers = range(NO_DEMOS, self.num_candidate_programs)
        if self.stop_at_score is not None:
            return await self._one_by_one(search, bootstrap, numbers, self.stop_at_score)
        proposals = await all_of(demo_set(search, bootstrap, number) for number in numbers)
        await search.evaluate_all(proposals, phase=PHASE, racing=self.race)
        return proposals[-1].state

    async def _one_by_one(
        self, search: Search[P], bootstrap: BootstrapFewShot, numbers: range, stop_at_score: float
    ) -> ProgramState:
        state = search.student.get_state()
        for number in numbers:
            proposal = await demo_set(search, bootstrap, number)
            state = proposal.state
            candidates = await search.evaluate_all([proposal], phase=PHASE, detail=proposal.label, racing=self.race)
            if any(candidate.score >= stop_at_score for candidate in candidates):
                break
        return state
