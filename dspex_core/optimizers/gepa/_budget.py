import math
from dataclasses import dataclass
from typing import Literal

Auto = Literal["light", "medium", "heavy"]

CANDIDATES: dict[Auto, int] = {"light": 6, "medium": 12, "heavy": 18}
"""Candidates that a run is meant to find, by how much may be spent."""
_MINIBATCH = 35
_FULL_EVALUATION_STEPS = 5
_BOOTSTRAP_RUNS = 5


def auto_metric_calls(auto: Auto, *, predictors: int, val_rows: int) -> int:
    """Metric calls that "light", "medium" and "heavy" stand for.

    They are those of a MIPROv2 run with as many candidates, so that the two can be compared; the formula is DSPy's.
    """
    candidates = CANDIDATES[auto]
    trials = int(max(2 * (predictors * 2) * math.log2(candidates), 1.5 * candidates))
    full_evaluations = (trials + 1) // _FULL_EVALUATION_STEPS + 1 + (trials < _FULL_EVALUATION_STEPS)
    return val_rows + _BOOTSTRAP_RUNS * candidates + trials * _MINIBATCH + full_evaluations * val_rows


@dataclass(frozen=True)
class Budget:
    """How many metric calls a run may make, and what its parts cost at most.

    Rows whose scores are known cost nothing, so a run may try more proposals than the bare sum says; but never more
    than if each had been turned down at sight.

    Attributes:
        metric_calls: Runs of the program on a row, with its score, that may be made in all.
        minibatch: Training rows a proposal is made from, and tried on.
        val_rows: Rows that the program as given, and what is accepted, are scored on.
    """

    metric_calls: int
    minibatch: int
    val_rows: int

    @property
    def least(self) -> int:
        """With fewer, a second proposal could not be scored once the first one was."""
        return self.val_rows + 2 * (self.proposal + self.val_rows)

    @property
    def proposal(self) -> int:
        """What trying one proposal costs at most."""
        return 2 * self.minibatch

    @property
    def proposals(self) -> int:
        """Proposals tried at most."""
        return (self.metric_calls - self.val_rows) // self.minibatch

    def affordable(self, spent: int, *, tried: int, wanted: int) -> int:
        """How many of the proposals wanted can be tried, so that one of them can be scored on all validation rows."""
        left = self.metric_calls - spent - self.val_rows
        return max(0, min(wanted, left // self.proposal, self.proposals - tried))

    def full_evaluations(self, spent: int) -> int:
        """How many states can be scored on all validation rows."""
        return (self.metric_calls - spent) // self.val_rows
