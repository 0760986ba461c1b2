import math
from dataclasses import dataclass
from typing import Literal

Auto = Literal["light", "medium", "heavy"]

CANDIDATES: dict[Auto, int] = {"light": 6, "medium": 12, "heavy": 18}
"""Candidates for each of the two things searched, by how much may be spent."""
MOST_VAL_ROWS: dict[Auto, int] = {"light": 100, "medium": 300, "heavy": 1000}
"""Validation rows used at most, by how much may be spent."""
FEWEST_ROWS_FOR_MINIBATCHES = 51
"""With fewer validation rows, every trial is scored on all of them where `auto` decides."""


@dataclass(frozen=True)
class Schedule:
    """How much a run of MIPROv2 does.

    Attributes:
        instructions: Instructions for each predictor, the one it has included.
        demo_sets: Sets of demos for each predictor, the empty one included.
        trials: Combinations tried.
        minibatch: Rows a trial is scored on; None for all.
        steps: Trials for each of which a most promising one is scored on all rows.
    """

    instructions: int
    demo_sets: int
    trials: int
    minibatch: int | None
    steps: int

    @property
    def full_evaluations(self) -> int:
        """Evaluations on all rows, that of the program as given not counted."""
        return self.full_evaluations_due(self.trials)

    def full_evaluations_due(self, done: int) -> int:
        """How many of them there are to be once so many trials are done: the last trials always have theirs."""
        if self.minibatch is None:
            return 0
        return -(-done // self.steps) if done >= self.trials else done // self.steps

    def metric_calls(self, val_rows: int) -> int:
        """Rows scored at most in the search, that of the program as given included, those of bootstrapping not."""
        if self.minibatch is None:
            return val_rows * (1 + self.trials)
        return val_rows * (1 + self.full_evaluations) + self.minibatch * self.trials


def trials_for(candidates: int, *, predictors: int, zero_shot: bool) -> int:
    """Trials that so many candidates call for; the formula is DSPy's."""
    variables = predictors if zero_shot else 2 * predictors
    return int(max(2 * variables * math.log2(candidates), 1.5 * candidates))
