from collections import Counter
from collections.abc import Sequence

from dspex_core.optimizers.gepa._pool import Member, Pool

Fronts = list[tuple[int, ...]]
"""For each validation row, the numbers of the members that do best on it."""


def pareto_fronts(pool: Pool) -> Fronts:
    """For each validation row, the members that do best on it, less those that others make superfluous.

    A member is superfluous if on each row where it is among the best, another one that is not superfluous is too. The
    weakest are looked at first.

    Source: Agrawal et al. 2025, "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning", algorithm 2.
    """
    fronts = _best_by_row(pool.members)
    kept = list(dict.fromkeys(number for front in fronts for number in front))
    for number in sorted(kept, key=lambda number: (pool.members[number].total, number)):
        others = [other for other in kept if other != number]
        if all(any(other in front for other in others) for front in fronts if number in front):
            kept = others
    return [tuple(number for number in front if number in kept) for front in fronts]


def rows_led(fronts: Fronts) -> dict[int, int]:
    """On how many rows each member of the fronts is among the best, in the order of the members."""
    return dict(sorted(Counter(number for front in fronts for number in front).items()))


def _best_by_row(members: Sequence[Member]) -> Fronts:
    fronts: Fronts = []
    for scores in zip(*(member.scores for member in members), strict=True):
        best = max(scores)
        fronts.append(tuple(number for number, score in enumerate(scores) if score == best))
    return fronts
