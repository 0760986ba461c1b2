from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from dspex_core.seam._lm import LMConfig
from dspex_core.seam._program import Program
from dspex_core.seam._runtime import Dataset, Evaluation
from dspex_core.seam._score import MetricLike

Work = Callable[[], Awaitable[None]]
"""A piece of work that may be begun before anybody needs it."""


@runtime_checkable
class WorksAhead(Protocol):
    """What a runtime may offer besides: to score rows early, where places are idle because calls wait for a retry."""

    def working_ahead(self, more: Callable[[], Work | None]) -> AbstractContextManager[None]:
        """Do work ahead during the block, a piece for each idle place, as long as others wait to be tried again.

        Args:
            more: The next piece, or None if there is none; it must take a place, as `score_ahead` does, at once.
        """
        ...

    async def score_ahead(
        self, program: Program, dataset: Dataset, *, metric: MetricLike, row: int, lm: LMConfig | None = None
    ) -> Evaluation:
        """Score a row as `Runtime.evaluate` does, and tell nobody."""
        ...

    def scored_so_far(self, tell: Callable[[int, float], None]) -> AbstractContextManager[None]:
        """Tell the row and the score of every row of the block's evaluations as soon as it is done."""
        ...
