import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from dspex_core.optimizers.gepa._front import pareto_fronts, rows_led
from dspex_core.optimizers.gepa._pool import Member, Pool
from dspex_core.seam import PredictorState, ProgramState

ROWS_TRIED = 5
"""Validation rows that a merged state is tried on before it is scored on all."""


@dataclass(frozen=True)
class Merge:
    """A state put together from two members.

    Attributes:
        state: Of each predictor, the better of the two versions.
        first: One member.
        second: The other.
        rows: Places, among the validation rows, of those that it is to be tried on.
    """

    state: ProgramState
    first: Member
    second: Member
    rows: tuple[int, ...]


class Merger(Protocol):
    """Decides when and which members are merged."""

    def note_accepted(self) -> None:
        """Take note that a mutation was accepted."""
        ...

    def note_merged(self) -> None:
        """Take note that the merge last proposed was accepted."""
        ...

    def propose(self, pool: Pool) -> Merge | None:
        """What to merge now, if anything."""
        ...


class NoMerge:
    """Never merges."""

    def note_accepted(self) -> None:
        """Do nothing."""

    def note_merged(self) -> None:
        """Do nothing."""

    def propose(self, pool: Pool) -> Merge | None:
        """Nothing."""
        del pool


class SystemAwareMerge:
    """Merges two members of the front whose lineages have improved different predictors since their common ancestor.

    A merge is due after each round that found something, until as many as wanted were accepted.

    Source: Agrawal et al. 2025, "GEPA", appendix F, algorithms 3 and 4 ("system-aware merge").

    Args:
        rng: Decides which members, and on which rows.
        most: Merges accepted at most; None sets no limit.
    """

    def __init__(self, rng: random.Random, *, most: int | None) -> None:
        self._rng = rng
        self._left = math.inf if most is None else most
        self._due = 0.0
        self._found_something = False
        self._tried: list[ProgramState] = []

    def note_accepted(self) -> None:
        """One more merge is due."""
        self._found_something = True
        self._due = min(self._due + 1, self._left)

    def note_merged(self) -> None:
        """One less is."""
        self._due -= 1
        self._left -= 1

    def propose(self, pool: Pool) -> Merge | None:
        """A merge that was not tried yet, right after something was found."""
        found_something, self._found_something = self._found_something, False
        if not found_something or self._due == 0:
            return None
        for first, second in self._pairs(pool):
            fitting = common_ancestors(pool, first, second)
            if not fitting:
                continue
            weights = [max(ancestor.total, 1e-9) for ancestor in fitting]
            ancestor = self._rng.choices(fitting, weights=weights)[0]
            state = self._merged(first, second, ancestor)
            if state not in pool and state not in self._tried:
                self._tried.append(state)
                return Merge(state, first, second, self._rows(first, second))
        return None

    def _pairs(self, pool: Pool) -> Iterator[tuple[Member, Member]]:
        """Pairs of the front of which neither descends from the other, in a random order."""
        front = [pool.members[number] for number in rows_led(pareto_fronts(pool))]
        pairs = list(combinations(front, 2))
        self._rng.shuffle(pairs)
        for first, second in pairs:
            if first.number not in pool.ancestors(second) and second.number not in pool.ancestors(first):
                yield first, second

    def _merged(self, first: Member, second: Member, ancestor: Member) -> ProgramState:
        return ProgramState(
            predictors={name: self._predictor(name, first, second, ancestor) for name in ancestor.state.predictors}
        )

    def _predictor(self, name: str, first: Member, second: Member, ancestor: Member) -> PredictorState:
        one, other, before = (member.state.predictors[name] for member in (first, second, ancestor))
        if one in (other, before):
            return other
        if other == before:
            return one
        if first.total != second.total:
            return one if first.total > second.total else other
        return self._rng.choice([one, other])

    def _rows(self, first: Member, second: Member) -> tuple[int, ...]:
        """A few rows: some that the one does better on, some that the other does, and some that tell nothing."""
        places = range(len(first.scores))
        better = [place for place in places if first.scores[place] > second.scores[place]]
        worse = [place for place in places if first.scores[place] < second.scores[place]]
        equal = [place for place in places if first.scores[place] == second.scores[place]]
        share, wanted = math.ceil(ROWS_TRIED / 3), min(ROWS_TRIED, len(places))
        drawn: list[int] = []
        for group in (better, worse, equal):
            drawn += self._rng.sample(group, min(len(group), share, wanted - len(drawn)))
        rest = [place for place in places if place not in drawn]
        return tuple(sorted(drawn + self._rng.sample(rest, wanted - len(drawn))))


def common_ancestors(pool: Pool, first: Member, second: Member) -> list[Member]:
    """Ancestors of both that do no better than either, and since which one alone has changed some predictor."""
    of_second = pool.ancestors(second)
    shared = [pool.members[number] for number in pool.ancestors(first) if number in of_second]
    return [
        ancestor
        for ancestor in shared
        if ancestor.total <= min(first.total, second.total) and _complementary(first, second, ancestor)
    ]


def _complementary(first: Member, second: Member, ancestor: Member) -> bool:
    return any(
        first.state.predictors[name] != second.state.predictors[name]
        and before in (first.state.predictors[name], second.state.predictors[name])
        for name, before in ancestor.state.predictors.items()
    )
