import random
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from dspex_core.errors import AdapterParseError, ConfigurationError, DatasetError, LMContextLengthError
from dspex_core.modules import ChainOfThought
from dspex_core.optimizers._base import RacingOptimizer
from dspex_core.optimizers._bootstrap_few_shot import BootstrapFewShot
from dspex_core.optimizers._result import P, Proposal
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._side_by_side import all_of
from dspex_core.optimizers._words import program_in_words, rows_in_words, with_instructions
from dspex_core.seam import Dataset, Program, ProgramState
from dspex_core.signature import InputField, OutputField, Signature

FEWEST_ROWS = 2
MOST_ROWS_SHOWN = 200
"""Training rows that rules are induced from: more would fit into few contexts, and weigh on a run's history."""


class InduceRules(Signature):
    """Work out the rules by which the right answers of a task follow from its inputs.

    Write rules that somebody who sees none of these examples can act on: each says when it applies and what to do then.
    Keep them short, and let none repeat another or hold for one example only.
    """

    program: str = InputField(desc="every step of the program, with its instruction")
    step: str = InputField(desc="the step that the rules are for")
    examples: str = InputField(desc="inputs with right answers, one JSON object a line")
    most_rules: int = InputField(desc="how many rules at most")
    rules: str = OutputField(desc="the rules, one a line")


class InferRules(RacingOptimizer, BootstrapFewShot):
    """Bootstraps demos, has a model work out rules from the training rows, and tells the program to follow them.

        optimizer = InferRules(metric="exact_match", num_candidates=4)
        best = await optimizer.compile(triage, trainset=trainset, valset=valset)

    Every candidate has the bootstrapped demos and its own sample of rules for every predictor. All are written, and
    then scored, side by side. The teacher's model, if one was given, writes the rules.

    Attributes:
        num_candidates: Sets of rules.
        num_rules: Rules in a set, at most.
        metric_threshold: Least score of a run worth showing; None accepts whatever the metric finds truthy.
        max_bootstrapped_demos: Most demos from the teacher's runs, per predictor.
        max_labeled_demos: Most demos in all that labeled rows fill up to, per predictor.
        max_rounds: Tries per row; each after the first is a fresh sample at temperature 1.

    Source: DSPy 3's optimizer of that name; Honovich et al. 2022, "Instruction Induction: From Few Examples to Natural
    Language Task Descriptions", section 2. Without a validation set, the second half of the training rows scores.
    Differently from DSPy, each set of rules is induced from a sample of its own, at most 200 rows in random order; the
    bootstrapped program without rules is a candidate too; rows that do not fit the model's context are halved.
    """

    name: ClassVar[str] = "infer_rules"

    num_candidates: int = Field(default=10, ge=1)
    num_rules: int = Field(default=10, ge=1)

    def divided(self, trainset: Dataset, valset: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """Without a validation set, the halves of the training rows.

        Raises:
            DatasetError: If there are not two rows to divide.
        """
        if valset is not None or not isinstance(trainset, Sequence) or not trainset:
            return trainset, valset
        if len(trainset) < FEWEST_ROWS:
            raise DatasetError("InferRules without a validation set needs 2 training rows at least: one is to score on")
        return trainset[: len(trainset) // 2], trainset[len(trainset) // 2 :]

    def check(
        self, student: Program, trainset: Dataset, valset: Dataset | None, teacher: Program | None = None
    ) -> None:
        """Refuse, besides what no search could use, rules that nothing could tell apart. Raises as `compile` does."""
        super().check(student, trainset, valset, teacher)
        if self.metric is None:
            raise ConfigurationError("InferRules needs a metric to choose among sets of rules")

    async def search(self, search: Search[P]) -> ProgramState:
        """Bootstrap demos, induce sets of rules, and score each set."""
        bootstrapped = await self.bootstrapped(search, range(len(search.trainset)))
        search.phase("inducing rules")
        numbers = range(1, self.num_candidates + 1)
        ruled = await all_of(self._with_rules(search, bootstrapped, number) for number in numbers)
        proposals = [Proposal(bootstrapped, "bootstrapped demos", parent=0)]
        proposals += [
            Proposal(state, f"rules {number}", parent=1)
            for number, state in zip(numbers, ruled, strict=True)
            if state != bootstrapped
        ]
        await search.evaluate_all(proposals, phase="evaluating sets of rules", racing=self.race)
        return proposals[-1].state

    async def _with_rules(self, search: Search[P], state: ProgramState, number: int) -> ProgramState:
        """The state with a set of rules for every predictor; one whose rules could not be read stays as it is."""
        names = list(state.predictors)
        rules = await all_of(self._rules(search, state, name, number) for name in names)
        told = {
            name: f"{state.predictors[name].instructions}\n\nFollow these rules:\n{text}"
            for name, text in zip(names, rules, strict=True)
            if text
        }
        return with_instructions(state, told)

    async def _rules(self, search: Search[P], state: ProgramState, name: str, number: int) -> str:
        size = len(search.trainset)
        rng = random.Random(f"{self.seed}/{name}/{number}")  # noqa: S311 - repeatable by design
        examples = await search.labeled_demos(rng.sample(range(size), min(size, MOST_ROWS_SHOWN)))
        while True:
            inputs = {
                "program": program_in_words(state),
                "step": name,
                "examples": rows_in_words(examples),
                "most_rules": self.num_rules,
            }
            try:
                answer = await search.ask(
                    ChainOfThought(InduceRules), inputs, lm=search.teacher_lm, rollout=number, temperature=1.0
                )
            except AdapterParseError:
                return ""
            except LMContextLengthError:
                if len(examples) == 1:
                    raise
                examples = examples[: len(examples) // 2]
            else:
                return answer.rules.strip()
