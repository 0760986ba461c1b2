import random
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from dspex_core.optimizers._base import Optimizer
from dspex_core.optimizers._result import P
from dspex_core.optimizers._search import Search
from dspex_core.seam import ProgramState


class LabeledFewShot(Optimizer):
    """Shows training rows as demos, without running anything. Source: DSPy's optimizer of that name.

        best = await LabeledFewShot(k=8, metric="exact_match").compile(program, trainset=trainset, valset=valset)

    Attributes:
        k: Demos a predictor gets.
        sample: Whether they are drawn at random; otherwise the first `k` rows.
    """

    name: ClassVar[str] = "labeled_few_shot"

    k: int = Field(default=16, ge=1)
    sample: bool = True

    async def search(self, search: Search[P]) -> ProgramState:
        """Draw demos for each predictor and score the result."""
        search.phase("choosing labeled demos")
        state = await labeled_state(search, self.k, seed=self.seed, sample=self.sample)
        await search.evaluate(state, "labeled demos")
        return state


async def labeled_state(
    search: Search[P], k: int, *, seed: int, sample: bool = True, rows: Sequence[int] | None = None
) -> ProgramState:
    """The student's state with `k` labeled training rows as the demos of each predictor.

    Args:
        search: The compile under way.
        k: Demos a predictor gets.
        seed: Decides which are drawn.
        sample: Whether they are drawn at random; otherwise the first `k` rows.
        rows: Training rows to take them from; None for all in their order.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable by design
    rows = range(len(search.trainset)) if rows is None else rows
    state = search.student.get_state()
    count = min(k, len(rows))
    return state.with_demos(
        {
            predictor: await search.labeled_demos(rng.sample(rows, count) if sample else rows[:count])
            for predictor in state.predictors
        }
    )
