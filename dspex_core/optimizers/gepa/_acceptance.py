import math
from collections.abc import Sequence
from typing import Protocol


class Acceptance(Protocol):
    """Decides from a minibatch whether a proposal is worth scoring on all validation rows."""

    def accepts(self, before: Sequence[float], after: Sequence[float]) -> bool:
        """Whether it is, given the parent's scores on the minibatch and its own."""
        ...


class StrictImprovement:
    """Accepts what scores more than its parent on the minibatch. Source: Agrawal et al. 2025, "GEPA", algorithm 1."""

    def accepts(self, before: Sequence[float], after: Sequence[float]) -> bool:
        """Whether the sum is higher."""
        return math.fsum(after) > math.fsum(before)


class NoLoss:
    """Accepts what scores no less than its parent: more is tried, and more of the budget goes to it."""

    def accepts(self, before: Sequence[float], after: Sequence[float]) -> bool:
        """Whether the sum is no lower."""
        return math.fsum(after) >= math.fsum(before)
