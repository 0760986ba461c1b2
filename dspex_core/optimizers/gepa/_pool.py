import math
from collections.abc import Sequence
from dataclasses import dataclass

from dspex_core.optimizers._result import Candidate
from dspex_core.seam import ProgramState


@dataclass(frozen=True)
class Member:
    """A candidate that was scored on all validation rows.

    Attributes:
        number: Its place in the pool.
        candidate: Its state and score.
        scores: Its score on each validation row, 0.0 to 1.0.
        parents: Numbers of the members it was made from: none, one, or two if it was merged.
    """

    number: int
    candidate: Candidate
    scores: tuple[float, ...]
    parents: tuple[int, ...] = ()

    @property
    def state(self) -> ProgramState:
        """Its instructions and demos."""
        return self.candidate.state

    @property
    def total(self) -> float:
        """The sum of its scores."""
        return math.fsum(self.scores)


class Pool:
    """Every candidate that others may be made from, in the order in which they were found."""

    def __init__(self) -> None:
        self.members: list[Member] = []

    def add(self, candidate: Candidate, scores: Sequence[float], parents: Sequence[int] = ()) -> Member:
        """Take in a candidate that was scored on all validation rows."""
        member = Member(len(self.members), candidate, tuple(scores), tuple(parents))
        self.members.append(member)
        return member

    def __contains__(self, state: object) -> bool:
        return any(member.state == state for member in self.members)

    @property
    def best(self) -> Member:
        """The member of the highest total; of equals, the first."""
        return max(self.members, key=lambda member: (member.total, -member.number))

    def ancestors(self, member: Member) -> list[int]:
        """Numbers of all members that it descends from, in order."""
        found: dict[int, None] = {}
        waiting = list(member.parents)
        while waiting:
            number = waiting.pop()
            if number not in found:
                found[number] = None
                waiting += self.members[number].parents
        return sorted(found)
