import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dspex_core.seam import LMConfig

if TYPE_CHECKING:
    from collections.abc import Generator


class Turns:
    """Lets as many chunks of rows begin as keep a model busy, and one more.

    Chunks that all run at once all end at once: nobody sees progress, and a kill finds all of them unfinished.

    Attributes:
        waiting: Chunks that this worker has taken and that have not begun.
    """

    def __init__(self) -> None:
        self._turns: dict[tuple[LMConfig, int], asyncio.Semaphore] = {}
        self.waiting = 0

    @property
    def are_taken(self) -> bool:
        """Whether a further chunk would wait, or might."""
        return self.waiting > 0 or any(turns.locked() for turns in self._turns.values())

    @contextmanager
    def taken(self) -> "Generator[Turn]":
        """A chunk that is taken; it waits until its turn."""
        turn = Turn(self)
        try:
            yield turn
        finally:
            turn.begins()

    def of(self, lm: LMConfig, *, rows: int) -> asyncio.Semaphore:
        """What chunks of so many rows take turns at."""
        turns = self._turns.get((lm, rows))
        if turns is None:
            turns = self._turns[lm, rows] = asyncio.Semaphore(-(-lm.concurrency // rows) + 1)
        return turns


class Turn:
    """One chunk's place among those that wait."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._waits = True
        turns.waiting += 1

    def begins(self) -> None:
        """It waits no longer; said again, that changes nothing."""
        self._turns.waiting -= self._waits
        self._waits = False
