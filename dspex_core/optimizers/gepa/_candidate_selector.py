import random
from typing import Protocol

from dspex_core.optimizers.gepa._front import pareto_fronts, rows_led
from dspex_core.optimizers.gepa._pool import Member, Pool


class CandidateSelector(Protocol):
    """Decides which member of the pool is changed next."""

    def select(self, pool: Pool) -> Member:
        """The member to change."""
        ...


class ParetoSelector:
    """Draws a member of the Pareto front, the more often the more rows it is among the best on.

    Source: Agrawal et al. 2025, "GEPA", algorithm 2.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def select(self, pool: Pool) -> Member:
        """A member of the front."""
        led = rows_led(pareto_fronts(pool))
        return pool.members[self._rng.choices(list(led), weights=list(led.values()))[0]]


class CurrentBestSelector:
    """Takes the member of the best score, always."""

    def select(self, pool: Pool) -> Member:
        """The best member."""
        return pool.best
