import random
from typing import Protocol


class Sampler(Protocol):
    """Decides which training rows a proposal is made from."""

    def sample(self) -> tuple[int, ...]:
        """Indices of the next minibatch's rows, each once."""
        ...


class EpochShuffled:
    """Goes through all training rows in a random order, and then through them in another.

    Args:
        rng: Decides the orders.
        rows: How many training rows there are.
        size: Rows of a minibatch. The last one of an epoch is filled up with the epoch's first rows.
    """

    def __init__(self, rng: random.Random, *, rows: int, size: int) -> None:
        self._rng = rng
        self._rows = rows
        self._size = size
        self._waiting: list[int] = []

    def sample(self) -> tuple[int, ...]:
        """The next rows of the epoch."""
        if not self._waiting:
            order = list(range(self._rows))
            self._rng.shuffle(order)
            self._waiting = order + order[: -self._rows % self._size]
        batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        return tuple(batch)
