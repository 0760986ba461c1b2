import asyncio
import random
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.optimizers._base import LMOption, RacingOptimizer
from dspex_core.optimizers._bootstrap_few_shot import BootstrapFewShot
from dspex_core.optimizers._demo_sets import NO_DEMOS, demo_set
from dspex_core.optimizers._result import P
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._side_by_side import all_of, both
from dspex_core.optimizers.mipro_v2._combinations import Combinations
from dspex_core.optimizers.mipro_v2._data_summary import summary_of_data
from dspex_core.optimizers.mipro_v2._instructions import EXAMPLES_SHOWN, DemoSets, Proposer
from dspex_core.optimizers.mipro_v2._schedule import (
    CANDIDATES,
    FEWEST_ROWS_FOR_MINIBATCHES,
    MOST_VAL_ROWS,
    Auto,
    Schedule,
    trials_for,
)
from dspex_core.optimizers.mipro_v2._trials import best_combination
from dspex_core.seam import Dataset, Program, ProgramState

SHARE_TO_SCORE_ON = 0.8
MOST_HELD_OUT = 1000


class MIPROv2(RacingOptimizer):
    """Proposes instructions and bootstraps sets of demos, and searches for the combination that scores best.

        best = await MIPROv2(metric="exact_match", auto="light").compile(triage, trainset=trainset, valset=valset)

    Attributes:
        seed: Decides every random choice.
        auto: How much to spend: "light", "medium" or "heavy" sets the number of candidates, trials and validation rows.
            None leaves them to `num_candidates` and `num_trials`, and all validation rows are used.
        num_candidates: Instructions, and sets of demos, for each predictor; only with auto=None.
        num_trials: Combinations tried; only with auto=None.
        max_bootstrapped_demos: Most demos from the teacher's runs, per predictor. With no demos of either kind, only
            instructions are searched (zero-shot), and demos stay as they are.
        max_labeled_demos: Most demos in all that labeled rows fill up to, per predictor.
        metric_threshold: Least score of a run worth showing; None accepts whatever the metric finds truthy.
        minibatch: Whether trials are scored on some rows first, where there are more than 50 validation rows (with
            auto=None: always).
        minibatch_size: Rows of a minibatch.
        minibatch_full_eval_steps: Trials for each of which a most promising combination is scored on all rows, once
            the batch of trials is done.
        parallel_trials: Trials side by side, a batch; the result depends on it, and on nothing else that runs at once.
            The sampler's first ten are random, so a batch of ten loses nothing there, and waits for stragglers least.
        prompt_model: The model that describes and proposes; None for the one in force.
        task_model: The model that the program runs on; None for the one in force.
        init_temperature: Temperature of proposals.
        view_data_batch_size: Training rows shown to the prompt model at once.
        program_aware_proposer: Whether proposals see a description of the program.
        data_aware_proposer: Whether they see a summary of the data, and some rows.
        tip_aware_proposer: Whether each gets a tip drawn at random.
        fewshot_aware_proposer: Whether they see demos of the predictor.
        requires_permission_to_run: Has no effect; taken because programs written for DSPy set it.

    Source: Opsahl-Ong et al. 2024, "Optimizing Instructions and Demonstrations for Multi-Stage Language Model Programs"
    (MIPRO); defaults and budgets as in DSPy 3's MIPROv2.
    """

    name: ClassVar[str] = "mipro_v2"
    beside_baseline: ClassVar[bool] = True

    seed: int = 9
    auto: Auto | None = "light"
    num_candidates: int | None = Field(default=None, ge=1)
    num_trials: int | None = Field(default=None, ge=1)
    max_bootstrapped_demos: int = Field(default=4, ge=0)
    max_labeled_demos: int = Field(default=4, ge=0)
    metric_threshold: float | None = None
    minibatch: bool = True
    minibatch_size: int = Field(default=35, ge=1)
    minibatch_full_eval_steps: int = Field(default=5, ge=1)
    parallel_trials: int = Field(default=10, ge=1)
    prompt_model: LMOption = None
    task_model: LMOption = None
    init_temperature: float = Field(default=1.0, ge=0)
    view_data_batch_size: int = Field(default=10, ge=1)
    program_aware_proposer: bool = True
    data_aware_proposer: bool = True
    tip_aware_proposer: bool = True
    fewshot_aware_proposer: bool = True
    requires_permission_to_run: bool | None = None

    async def search(self, search: Search[P]) -> ProgramState:
        """Bootstrap sets of demos and describe the data; propose instructions; search for the best combination."""
        schedule = self.schedule(predictors=len(search.student.get_state().predictors), val_rows=len(search.val_rows))
        combinations, _ = await both(self._combinations(search, schedule), self._sampler_ready(search))
        return await best_combination(
            search, combinations, schedule, parallel_trials=self.parallel_trials, seed=self.seed, racing=self.race
        )

    @property
    def zero_shot(self) -> bool:
        """Whether only instructions are searched."""
        return self.max_bootstrapped_demos == 0 and self.max_labeled_demos == 0

    def schedule(self, *, predictors: int, val_rows: int) -> Schedule:
        """How much a run does, for a program of so many predictors and so many validation rows.

        Raises:
            ConfigurationError: If a minibatch would be larger than the validation set.
        """
        size = val_rows if self.auto is None else min(val_rows, MOST_VAL_ROWS[self.auto])
        minibatch = self.minibatch and (self.auto is None or size >= FEWEST_ROWS_FOR_MINIBATCHES)
        if minibatch and self.minibatch_size > size:
            raise ConfigurationError(
                f"MIPROv2: a minibatch of {self.minibatch_size} rows does not fit a validation set of {size}; "
                f"set minibatch_size to {size} or less, or minibatch=False"
            )
        trials = self.num_trials
        if self.auto is not None or trials is None:
            trials = trials_for(self._candidates, predictors=predictors, zero_shot=self.zero_shot)
        halved = self.auto is not None and not self.zero_shot
        return Schedule(
            instructions=self._candidates // 2 if halved else self._candidates,
            demo_sets=self._candidates,
            trials=trials,
            minibatch=self.minibatch_size if minibatch else None,
            steps=self.minibatch_full_eval_steps,
        )

    def divided(self, trainset: Dataset, valset: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """Without a validation set, the last four fifths of the training rows, at most 1,000.

        Raises:
            DatasetError: If there are not two rows to divide.
        """
        if valset is not None or not isinstance(trainset, Sequence):
            return trainset, valset
        if len(trainset) == 1:
            raise DatasetError("MIPROv2 without a validation set needs 2 training rows at least: one is to score on")
        cut = len(trainset) - min(MOST_HELD_OUT, max(1, int(len(trainset) * SHARE_TO_SCORE_ON)))
        return trainset[:cut], trainset[cut:]

    def prepare(self, search: Search[Any]) -> None:
        """Score on as many rows as `auto` says, drawn at random, and with the task model."""
        search.task_lm = self.task_model
        if self.auto is not None:
            most = min(MOST_VAL_ROWS[self.auto], len(search.val_rows))
            drawn = random.Random(self.seed).sample(search.val_rows, most)  # noqa: S311 - repeatable by design
            search.val_rows = tuple(sorted(drawn))

    def check(
        self, student: Program, trainset: Dataset, valset: Dataset | None, teacher: Program | None = None
    ) -> None:
        """Refuse, besides what no search could use, a minibatch that does not fit. Raises as `compile` does."""
        super().check(student, trainset, valset, teacher)
        if valset is not None:
            self.schedule(predictors=len(student.get_state().predictors), val_rows=len(valset))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.auto is None and (self.num_candidates is None or self.num_trials is None):
            raise ConfigurationError(f"MIPROv2 with auto=None needs num_candidates and num_trials{self._advice()}")
        if self.auto is not None and (self.num_candidates is not None or self.num_trials is not None):
            raise ConfigurationError(
                f"MIPROv2: auto={self.auto!r} decides num_candidates and num_trials; "
                "leave them out, or set auto=None and give both"
            )
        return self

    def _advice(self) -> str:
        if self.num_candidates is None:
            return ""
        trials = trials_for(self.num_candidates, predictors=1, zero_shot=self.zero_shot)
        return f"; for {self.num_candidates} candidates and one predictor, {trials} trials are about right"

    @property
    def _candidates(self) -> int:
        return self.num_candidates or CANDIDATES[self.auto or "light"]

    async def _combinations(self, search: Search[P], schedule: Schedule) -> Combinations:
        """What there is to combine: instructions proposed in the light of demos and data, and sets of demos."""
        sets = self._demo_sets(search, schedule)
        demo_sets, instructions = await both(
            all_of(sets),
            self._proposer().propose(
                search, sets, data_summary=self._data_summary(search), count=schedule.instructions
            ),
        )
        return Combinations(search.student.get_state(), instructions, [] if self.zero_shot else demo_sets)

    async def _sampler_ready(self, search: Search[P]) -> None:
        # Asked for no suggestion, it is loaded all the same, which takes half a second: now it delays nothing.
        await search.runtime.suggest({}, [], count=0, seed=self.seed)

    def _demo_sets(self, search: Search[P], schedule: Schedule) -> DemoSets:
        """As many sets of demos as planned, made side by side; for instructions alone, a few demos to propose from."""
        bootstrap = BootstrapFewShot(
            metric=self.metric,
            seed=self.seed,
            metric_threshold=self.metric_threshold,
            max_bootstrapped_demos=EXAMPLES_SHOWN if self.zero_shot else self.max_bootstrapped_demos,
            max_labeled_demos=self.max_labeled_demos,
        )

        async def made(number: int) -> ProgramState:
            return (await demo_set(search, bootstrap, number)).state

        return [asyncio.create_task(made(NO_DEMOS + at)) for at in range(schedule.demo_sets)]

    async def _data_summary(self, search: Search[P]) -> str:
        if not self.data_aware_proposer:
            return ""
        return await summary_of_data(search, batch_size=self.view_data_batch_size, prompt_model=self.prompt_model)

    def _proposer(self) -> Proposer:
        return Proposer(
            prompt_model=self.prompt_model,
            seed=self.seed,
            temperature=self.init_temperature,
            batch_size=self.view_data_batch_size,
            program_aware=self.program_aware_proposer,
            data_aware=self.data_aware_proposer,
            tip_aware=self.tip_aware_proposer,
            fewshot_aware=self.fewshot_aware_proposer,
        )
