import random
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.optimizers._base import LMOption, Optimizer
from dspex_core.optimizers._result import P
from dspex_core.optimizers._search import Search
from dspex_core.optimizers.gepa._acceptance import StrictImprovement
from dspex_core.optimizers.gepa._budget import Auto, Budget, auto_metric_calls
from dspex_core.optimizers.gepa._candidate_selector import CurrentBestSelector, ParetoSelector
from dspex_core.optimizers.gepa._component_selector import AllComponents, RoundRobin
from dspex_core.optimizers.gepa._evolution import Evolution, Rules, Strategies
from dspex_core.optimizers.gepa._merge import NoMerge, SystemAwareMerge
from dspex_core.optimizers.gepa._sampler import EpochShuffled
from dspex_core.seam import Dataset, Program, ProgramState


class GEPA(Optimizer):
    """Evolves instructions: a model reads how runs went and why, and rewrites the instruction of one predictor.

        best = await GEPA(metric="exact_match", auto="light").compile(triage, trainset=trainset, valset=valset)

    A metric that returns `Score(value, feedback)` says in words what to learn from a run. Without feedback, reflection
    is shown the labels of rows that went wrong. Validation rows score, training rows teach; without a validation set,
    the training rows do both.

    Attributes:
        seed: Decides every random choice.
        auto: How much to spend: "light", "medium" or "heavy". Of this and the next two, give one; without any, it is
            "light".
        max_full_evals: Budget as a number of evaluations on all training and validation rows.
        max_metric_calls: Budget as a number of runs of the program on a row. It is never overshot.
        reflection_minibatch_size: Training rows that a proposal is made from and tried on.
        candidate_selection_strategy: Which candidate is changed: one drawn from the Pareto front of the validation
            rows, or the best.
        component_selector: Which of its predictors: each in its turn, or all at once.
        reflection_lm: The model that reflects; None for the teacher's, if there is one, or the one in force.
        skip_perfect_score: Whether nothing is learnt from runs that are all perfect; then the search also ends once a
            candidate is perfect on every validation row.
        perfect_score: What the metric gives at best.
        use_merge: Whether candidates that improved different predictors are merged.
        max_merge_invocations: Merges accepted at most; None sets no limit.
        parallel_proposals: Proposals made side by side; the result depends on it, and on nothing else that runs at
            once. Each more waits less and knows less of what came before it.

    Source: Agrawal et al. 2025, "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning"
    (arXiv 2507.19457); names, defaults and budgets as in DSPy 3's GEPA.
    """

    name: ClassVar[str] = "gepa"

    auto: Auto | None = None
    max_full_evals: int | None = Field(default=None, ge=1)
    max_metric_calls: int | None = Field(default=None, ge=1)
    reflection_minibatch_size: int = Field(default=3, ge=1)
    candidate_selection_strategy: Literal["pareto", "current_best"] = "pareto"
    component_selector: Literal["round_robin", "all"] = "round_robin"
    reflection_lm: LMOption = None
    skip_perfect_score: bool = True
    perfect_score: float = 1.0
    use_merge: bool = True
    max_merge_invocations: int | None = Field(default=5, ge=0)
    parallel_proposals: int = Field(default=2, ge=1)

    async def search(self, search: Search[P]) -> ProgramState:
        """Let the pool of candidates grow until the budget is spent."""
        rules = Rules(
            budget=self._budget(search.student, search.trainset, search.valset),
            parallel_proposals=self.parallel_proposals,
            reflection_lm=self.reflection_lm or search.teacher_lm,
            perfect_score=self.perfect_score,
            skip_perfect_score=self.skip_perfect_score,
        )
        best = await Evolution(search, self.strategies(search), rules).run()
        return best.state

    def strategies(self, search: Search[Any]) -> Strategies:
        """How a run decides; a subclass may decide otherwise. Each decision draws from random numbers of its own."""
        return Strategies(
            sampler=EpochShuffled(self._rng("rows"), rows=len(search.trainset), size=self.reflection_minibatch_size),
            candidates=(
                ParetoSelector(self._rng("candidates"))
                if self.candidate_selection_strategy == "pareto"
                else CurrentBestSelector()
            ),
            components=RoundRobin() if self.component_selector == "round_robin" else AllComponents(),
            acceptance=StrictImprovement(),
            merger=SystemAwareMerge(self._rng("merges"), most=self.max_merge_invocations)
            if self.use_merge
            else NoMerge(),
        )

    def metric_calls(self, *, predictors: int, train_rows: int, val_rows: int) -> int:
        """The budget for a program of so many predictors; `train_rows` are those that do not also score."""
        if self.max_metric_calls is not None:
            return self.max_metric_calls
        if self.max_full_evals is not None:
            return self.max_full_evals * (train_rows + val_rows)
        return auto_metric_calls(self.auto or "light", predictors=predictors, val_rows=val_rows)

    def divided(self, trainset: Dataset, valset: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """Without a validation set, the training rows score too."""
        return trainset, trainset if valset is None else valset

    def check(
        self, student: Program, trainset: Dataset, valset: Dataset | None, teacher: Program | None = None
    ) -> None:
        """Refuse, besides what no search could use, a budget or a minibatch that does not fit. Raises as `compile`."""
        super().check(student, trainset, valset, teacher)
        if teacher is not None:
            raise ConfigurationError("GEPA learns from the student's own runs and has no use for a teacher program")
        if len(trainset) < self.reflection_minibatch_size:
            raise DatasetError(
                f"GEPA: the training set has {len(trainset)} rows, fewer than reflection_minibatch_size="
                f"{self.reflection_minibatch_size}; give more rows, or set it lower"
            )
        if valset is not None:
            self._check_budget(self._budget(student, trainset, valset))

    def _check_budget(self, budget: Budget) -> None:
        if budget.metric_calls < budget.least:
            given = "max_metric_calls" if self.max_metric_calls is not None else "max_full_evals"
            raise ConfigurationError(
                f"GEPA: {given} allows {budget.metric_calls} metric calls, too few for a second proposal: the program "
                f"as given takes {budget.val_rows} and a proposal up to {budget.proposal + budget.val_rows}; allow "
                f"{budget.least} or more, or score on fewer validation rows"
            )

    def _budget(self, student: Program, trainset: Dataset, valset: Dataset | None) -> Budget:
        val_rows = 0 if valset is None else len(valset)
        train_rows = 0 if trainset == valset else len(trainset)
        calls = self.metric_calls(
            predictors=len(student.get_state().predictors), train_rows=train_rows, val_rows=val_rows
        )
        return Budget(metric_calls=calls, minibatch=self.reflection_minibatch_size, val_rows=val_rows)

    def _rng(self, decision: str) -> random.Random:
        return random.Random(f"{self.seed}/{decision}")  # noqa: S311 - repeatable by design

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        given = [name for name in ("auto", "max_full_evals", "max_metric_calls") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigurationError(
                f"GEPA takes one budget, but was given {' and '.join(given)}; leave all but one out"
            )
        return self
