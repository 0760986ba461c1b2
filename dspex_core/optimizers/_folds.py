import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, cast

from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.events import Event, PhaseStarted
from dspex_core.optimizers._result import Candidate, CompileResult, Fold, P, Proposal
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._step_runtime import StepRuntime
from dspex_core.seam import Dataset, Evaluation, MetricLike, Program, ProgramState, Runtime, StoredDataset, percent

if TYPE_CHECKING:
    from dspex_core.optimizers._base import Optimizer

FEWEST_FOLDS = 2
_Rows = tuple[int, ...]


class CrossValidation(Generic[P]):
    """Compiles once for each fold, on the rows outside it, and scores the rows inside; then compiles on all rows.

    So every row is scored once, by a program that was found without it, which tells what the last compile's program
    will do on rows that nobody has seen. It is the result, unless the programs of the folds did worse than the one
    given: then that one is.

    Source: Stone 1974, "Cross-Validatory Choice and Assessment of Statistical Predictions".

    Args:
        optimizer: What compiles.
        count: How many folds.
    """

    def __init__(self, optimizer: "Optimizer", count: int) -> None:
        self._optimizer = optimizer
        self._count = count

    def check(self, student: Program, trainset: Dataset, valset: Dataset | None, teacher: Program | None) -> None:
        """Refuse what cannot be cross-validated, before anything is paid for.

        Raises:
            ConfigurationError: If there is a validation set, no metric, or one fold only.
            DatasetError: If there are fewer rows than folds, or too few outside of one.
        """
        if valset is not None:
            raise ConfigurationError("folds score the training rows in turns: leave out either them or the valset")
        if self._optimizer.metric is None:
            raise ConfigurationError(f"{type(self._optimizer).__name__} needs a metric to score folds with")
        if self._count < FEWEST_FOLDS:
            raise ConfigurationError(f"folds={self._count}: rows are split into 2 folds or more")
        self._optimizer.check(student, trainset, None, teacher)
        if len(trainset) < self._count:
            raise DatasetError(f"{len(trainset)} training rows cannot be split into {self._count} folds")
        for part in self._parts(len(trainset)):
            views = _Views(self._optimizer, _outside(part, len(trainset)))
            self._optimizer.check(student, views.trainset, views.valset, teacher)

    async def run(self, search: Search[P]) -> CompileResult[P]:
        """Compile for each fold, and on all rows.

        Args:
            search: Scores on the training rows, and has scored the program as it was given.
        """
        size = len(search.trainset)
        parts, states = self._parts(size), list[ProgramState]()
        for number, part in enumerate(parts, start=1):
            name = f"fold {number} of {len(parts)}"
            inner, state = await self._compiled(search, _outside(part, size), name)
            search.absorb(inner, [])
            await search.evaluate_all([Proposal(state, name, parent=0, rows=part)], phase="scoring a fold", detail=name)
            states.append(state)
        last, final = await self._compiled(search, tuple(range(size)), "all rows")
        return _result(search, list(zip(parts, states, strict=True)), last, final)

    async def _compiled(self, search: Search[P], rows: _Rows, name: str) -> tuple[Search[P], ProgramState]:
        """A compile on some of the rows, and the state that it finds."""
        views = _Views(self._optimizer, rows)
        inner = Search(
            _FoldRuntime(search.runtime, search.trainset, views.rows, name).as_runtime(),
            student=search.student,
            trainset=views.trainset,
            valset=views.valset,
            metric=search.metric,
            teacher=search.teacher,
            teacher_lm=search.teacher_lm,
        )
        self._optimizer.prepare(inner)
        found = inner.result(await self._optimizer.run_search(inner))
        return inner, found.program.get_state()

    def _parts(self, size: int) -> list[_Rows]:
        rows = list(range(size))
        random.Random(f"{self._optimizer.seed}/folds").shuffle(rows)  # noqa: S311 - repeatable by design
        return [tuple(sorted(rows[first :: self._count])) for first in range(self._count)]


class _Views:
    """Rows of a data set as the optimizer divides them into some to learn from and some to score on.

    Attributes:
        trainset: Stands for the rows to learn from.
        valset: Stands for those to score on; None if the optimizer scores none.
        rows: The rows that they stand for, by digest.
    """

    def __init__(self, optimizer: "Optimizer", rows: _Rows) -> None:
        # An optimizer divides rows by their places alone, so their numbers can stand for them.
        to_learn, to_score = optimizer.divided(cast("Any", rows), None)
        self.rows: dict[str, _Rows] = {"to learn from": tuple(cast("Any", to_learn))}
        self.trainset = StoredDataset(digest="to learn from", size=len(to_learn))
        self.valset: StoredDataset | None = None
        if to_score is not None:
            self.rows["to score on"] = tuple(cast("Any", to_score))
            same = to_score is to_learn
            self.valset = self.trainset if same else StoredDataset(digest="to score on", size=len(to_score))


class _FoldRuntime(StepRuntime):
    """A runtime to which views of a data set are data sets; its candidates are nobody's business."""

    def __init__(self, runtime: Runtime, dataset: Dataset, views: Mapping[str, _Rows], name: str) -> None:
        super().__init__(runtime, dataset, None, lambda _: None)
        self._views = views
        self._name = name

    async def evaluate(
        self, program: Program, dataset: Dataset, *, metric: MetricLike, rows: Sequence[int] | None = None, **given: Any
    ) -> Evaluation:
        """A program run and scored on rows of a view."""
        indices = self._mapped(dataset, range(len(dataset)) if rows is None else rows)
        evaluation = await self._runtime.evaluate(program, self._source(dataset), metric=metric, rows=indices, **given)
        places = {row: place for place, row in enumerate(self._mapped(dataset, range(len(dataset))))}
        failed = tuple(places[row] for row in evaluation.failed_rows)
        return evaluation.model_copy(update={"failed_rows": failed})

    def emit(self, event: Event) -> None:
        """Tell whoever watches, which fold it is."""
        if isinstance(event, PhaseStarted):
            event = event.model_copy(update={"detail": f"{self._name}, {event.detail}" if event.detail else self._name})
        super().emit(event)

    def _source(self, dataset: Dataset) -> Dataset:
        return self._dataset if self._rows_of(dataset) is not None else dataset

    def _mapped(self, dataset: Dataset, indices: Sequence[int]) -> _Rows:
        rows = self._rows_of(dataset)
        return tuple(indices) if rows is None else tuple(rows[index] for index in indices)

    def _rows_of(self, dataset: Dataset) -> _Rows | None:
        return self._views.get(dataset.digest) if isinstance(dataset, StoredDataset) else None


def _outside(part: _Rows, size: int) -> _Rows:
    inside = set(part)
    return tuple(row for row in range(size) if row not in inside)


def _result(
    search: Search[P], folds: Sequence[tuple[_Rows, ProgramState]], last: Search[P], final: ProgramState
) -> CompileResult[P]:
    """The books closed: the program of all rows is entered with the score of the folds' programs."""
    before = dict(zip(search.val_rows, search.scores(search.student.get_state()), strict=True))
    found = {row: score for part, state in folds for row, score in zip(part, search.scores(state, part), strict=True)}
    after = [found[row] for row in search.val_rows]
    label = "compiled on all rows; the score is that of the folds"
    candidate = Candidate(index=len(search.candidates), label=label, state=final, score=percent(after), parent=0)
    search.absorb(last, [candidate])
    search.runtime.emit(candidate.evaluated())
    baseline = search.candidates[0]
    better = candidate.score >= baseline.score
    return CompileResult(
        program=search.student.with_state(final) if better else search.student,
        score=max(candidate.score, baseline.score),
        baseline_score=baseline.score,
        candidates=tuple(search.candidates),
        usage=search.usage,
        scored_rows=search.val_rows,
        baseline_scores=tuple(before.values()),
        best_scores=tuple(after if better else before.values()),
        folds=tuple(
            Fold(
                rows=part,
                baseline_score=percent([before[row] for row in part]),
                score=percent([found[row] for row in part]),
            )
            for part, _ in folds
        ),
    )
