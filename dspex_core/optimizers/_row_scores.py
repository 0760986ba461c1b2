from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Generic

from dspex_core.errors import EvaluationError
from dspex_core.optimizers._ahead import Ahead, Imagined, Key
from dspex_core.optimizers._digest import digest_of
from dspex_core.optimizers._once import Once
from dspex_core.optimizers._racing import Known, Scores
from dspex_core.optimizers._result import P
from dspex_core.seam import (
    Dataset,
    Evaluation,
    LMConfig,
    MetricLike,
    ProgramState,
    Runtime,
    WorksAhead,
    current_spending,
)
from dspex_core.usage import Usage


@dataclass(frozen=True)
class Scored:
    """What became of a row: its score, and whether the program failed on it."""

    score: float
    failed: bool


class RowScores(Generic[P]):
    """What states score on validation rows: each is found out once, however often and by whomever it is asked for.

    Args:
        runtime: Where rows are scored. If it can, it scores rows early where its places are idle, unless a budget is
            to be kept.
        student: The program whose states these are.
        dataset: Where the rows are; None if there is nothing to score on.
        metric: What scores them.
        lm: Says which model states run on; None for the one in force.
        book: Told what was run: usage and rows.

    Attributes:
        failure: What happened on a row, if a state failed on all that it was run on.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        student: P,
        dataset: Dataset | None,
        metric: MetricLike | None,
        lm: Callable[[], LMConfig | None],
        book: Callable[[Usage, int], None],
    ) -> None:
        self.failure = ""
        self._runtime = runtime
        self._student = student
        self._dataset = dataset
        self._metric = metric
        self._lm = lm
        self._book = book
        self._once: Once[Key, Scored] = Once()
        self._states: dict[str, ProgramState] = {}
        self._early_usage: dict[Key, Usage] = {}
        self._ahead: Ahead | None = None
        if isinstance(runtime, WorksAhead) and current_spending() is None:
            score = partial(self._score_early, runtime)
            self._ahead = Ahead(runtime, score=score, is_asked=self._is_asked)

    def digest(self, state: ProgramState) -> str:
        """What names a state here."""
        digest = digest_of(state)
        self._states[digest] = state
        return digest

    async def scored(self, state: ProgramState, rows: Sequence[int]) -> tuple[list[Scored], Usage]:
        """What a state scores on rows, and what was taken for that now, or early.

        Raises:
            EvaluationError: If there is nothing to score on.
            LMError: If a model could not be reached.
            MetricError: If the metric raised or returned no score.
        """
        digest, spent = self.digest(state), Usage()

        async def run(keys: list[Key]) -> list[Scored]:
            nonlocal spent
            wanted = [row for _, row in keys]
            with nullcontext() if self._ahead is None else self._ahead.hearing(digest):
                evaluation = await self._evaluated(state, wanted)
            spent = evaluation.usage
            self._book(spent, len(wanted))
            if evaluation.failed == len(wanted):
                self.failure = evaluation.failures[0]
            failed = set(evaluation.failed_rows)
            return [Scored(score, row in failed) for row, score in zip(wanted, evaluation.scores, strict=True)]

        keys = [(digest, row) for row in rows]
        if self._ahead is not None:
            self._ahead.asked(keys)
        found = await self._once.values(keys, run)
        return found, sum((self._early_usage.pop(key, Usage()) for key in keys), start=spent)

    def known(self, digest: str, rows: Sequence[int]) -> Scores:
        """What a state scored on those of some rows that were asked for."""
        keys = [(digest, row) for row in rows if self._ahead is None or not self._ahead.is_early((digest, row))]
        found = {row: self._once.known((digest, row)) for _, row in keys}
        return {row: scored.score for row, scored in found.items() if scored is not None}

    def note(self, digest: str, row: int, scored: Scored) -> None:
        """Take over what was found out otherwise."""
        self._once.note((digest, row), scored)

    def share(self, other: "RowScores[P]") -> None:
        """Know all that another finds out, over the same rows and models, and let it know the same."""
        self._once = other._once  # noqa: SLF001 - the same class

    @contextmanager
    def foreseeing(self, imagined: Imagined) -> Generator[None]:
        """Let rows that will probably be asked for next be scored early, if calls of the block wait for a retry."""
        with nullcontext() if self._ahead is None else self._ahead.of(imagined):
            yield

    @property
    def guesses(self) -> Sequence[Known]:
        """What states may score on rows; only for what is scored early."""
        return () if self._ahead is None else self._ahead.guesses

    async def close(self) -> None:
        """End what was begun early, and not asked for."""
        if self._ahead is not None:
            await self._ahead.close()

    def _is_asked(self, key: Key) -> bool:
        return self._once.asked(key)

    async def _evaluated(self, state: ProgramState, rows: list[int]) -> Evaluation:
        if self._dataset is None or self._metric is None:
            raise EvaluationError("there is nothing to score on: the search has no validation set, or no metric")
        return await self._runtime.evaluate(
            self._student.with_state(state),
            self._dataset,
            metric=self._metric,
            rows=None if rows == list(range(len(self._dataset))) else rows,
            lm=self._lm(),
        )

    async def _score_early(self, runtime: WorksAhead, key: Key) -> None:
        (digest, row), dataset, metric = key, self._dataset, self._metric
        if dataset is None or metric is None:
            return
        program = self._student.with_state(self._states[digest])

        async def run(keys: list[Key]) -> list[Scored]:
            evaluation = await runtime.score_ahead(program, dataset, metric=metric, row=row, lm=self._lm())
            self._book(evaluation.usage, len(keys))
            self._early_usage[key] = evaluation.usage
            if self._ahead is not None:
                self._ahead.hear(key, evaluation.scores[0])
            return [Scored(evaluation.scores[0], failed=evaluation.failed > 0)]

        await self._once.values([key], run)
