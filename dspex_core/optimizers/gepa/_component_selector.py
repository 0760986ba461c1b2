from collections.abc import Sequence
from typing import Protocol

from dspex_core.optimizers.gepa._pool import Member


class ComponentSelector(Protocol):
    """Decides which predictors of a member get a new instruction."""

    def select(self, parent: Member, predictors: Sequence[str]) -> tuple[str, ...]:
        """Names of the predictors to change, of those there are."""
        ...


class RoundRobin:
    """One predictor after the other; a child goes on where its parents are.

    Source: Agrawal et al. 2025, "GEPA", section 3.
    """

    def __init__(self) -> None:
        self._turns: dict[int, int] = {}

    def select(self, parent: Member, predictors: Sequence[str]) -> tuple[str, ...]:
        """The predictor whose turn it is."""
        inherited = max((self._turns.get(number, 0) for number in parent.parents), default=0)
        turn = self._turns.get(parent.number, inherited)
        self._turns[parent.number] = turn + 1
        return (predictors[turn % len(predictors)],)


class AllComponents:
    """All predictors at once."""

    def select(self, parent: Member, predictors: Sequence[str]) -> tuple[str, ...]:
        """All of them."""
        del parent
        return tuple(predictors)
