import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from statistics import fmean

from dspex_core.optimizers._racing import Known, Scores
from dspex_core.seam import Work, WorksAhead

MOST_IN_VAIN = 128
"""Rows scored early, and not asked for yet, at which no more are begun while the same is waited for."""

ROWS_AN_IMAGE = 8
"""Rows begun before what comes next is imagined anew."""

_UNKNOWN = 0.5

Key = tuple[str, int]
"""A state's digest, and a row."""

Imagined = Callable[[], Iterable[tuple[str, Sequence[int]]]]
"""Which rows of which states will probably be asked for, the next ones first."""


class Ahead:
    """Rows scored before it is known whether they are needed, in places that are idle because others wait for a retry.

    A row that was scored early counts as unknown until it is asked for, so that no decision depends on what was early.

    Args:
        runtime: Where places are.
        score: Scores a row, and notes it; may raise.
        is_asked: Whether a row's score is known, or being found out.
    """

    def __init__(
        self, runtime: WorksAhead, *, score: Callable[[Key], Awaitable[None]], is_asked: Callable[[Key], bool]
    ) -> None:
        self._runtime = runtime
        self._score = score
        self._is_asked = is_asked
        self._early: set[Key] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard: dict[str, dict[int, float]] = {}

    def is_early(self, key: Key) -> bool:
        """Whether a row was begun early, and nobody has asked for it since."""
        return key in self._early

    def asked(self, keys: Iterable[Key]) -> None:
        """Take note that rows are asked for."""
        self._early.difference_update(keys)

    @contextmanager
    def hearing(self, digest: str) -> Generator[None]:
        """Hear what each row of a state's evaluation scores as soon as it is done."""
        with self._runtime.scored_so_far(lambda row, score: self.hear((digest, row), score)):
            yield

    def hear(self, key: Key, score: float) -> None:
        """Hear what a row scores."""
        self._heard.setdefault(key[0], {})[key[1]] = score

    @property
    def guesses(self) -> Sequence[Known]:
        """What a state scores on rows, as far as heard; on the others its mean, or that all go well, or none."""

        def guess(digest: str, rows: Sequence[int], unknown: float | None = None) -> Scores:
            heard = self._heard.get(digest, {})
            if unknown is None:
                unknown = fmean(heard.values()) if heard else _UNKNOWN
            return {row: heard.get(row, unknown) for row in rows}

        return guess, partial(guess, unknown=1.0), partial(guess, unknown=0.0)

    @contextmanager
    def of(self, imagined: Imagined) -> Generator[None]:
        """Score early what will probably be asked for next, while the block waits."""
        following = self._following(imagined)
        most = len(self._early) + MOST_IN_VAIN

        def more() -> Work | None:
            key = next(following) if len(self._early) < most else None
            return None if key is None else lambda: self._early_score(key)

        with self._runtime.working_ahead(more):
            yield

    async def close(self) -> None:
        """End what nobody asked for."""
        for task in (ending := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def _following(self, imagined: Imagined) -> Iterator[Key | None]:
        """The rows to score next, imagined anew from time to time; None if there are none, until more is heard."""
        heard = -1
        while True:
            if heard == (heard := sum(map(len, self._heard.values()))):
                yield None
            else:
                rows = ((name, row) for name, rows in imagined() for row in rows)
                yield from islice((key for key in rows if not self._is_asked(key)), ROWS_AN_IMAGE)

    async def _early_score(self, key: Key) -> None:
        task = asyncio.current_task()
        if task is None or self._is_asked(key):
            return
        self._tasks.add(task)
        self._early.add(key)
        try:
            await self._score(key)
        except Exception:  # noqa: BLE001 - whoever asks for the row finds out for himself
            self._early.discard(key)
        finally:
            self._tasks.discard(task)
