import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from dspex_core.errors import ConfigurationError, DatasetError, EvaluationError, InputError, LMError, ProgramError
from dspex_core.evaluate._rows import Callee, RowResult, describe, score_rows
from dspex_core.metrics import resolve_metric
from dspex_core.record import Example, require_inputs
from dspex_core.seam import MetricLike, percent
from dspex_core.synchronous import run_synchronously
from dspex_core.usage import Usage

DEFAULT_CONCURRENCY = 64
ROWS_KEPT_OF_A_STREAM = 1_000
"""Row results that are kept of rows that are read as they are needed, where nothing else is said."""


_ROWS_BEFORE_A_SHARE = 100


class EvaluationResult:
    """What an `Evaluate` found.

        result = await Evaluate(devset, "exact_match")(program)
        print(result.score, result.usage.cost_usd)
        for row in result.errors:
            print(row.row, row.error)

    Attributes:
        score: Mean score in percent, 0 to 100, over the rows that have one.
        rows: Results in the order of the rows: of all, or of the first ones if not all are kept.
        errors: The rows that went wrong, as many as are kept. Those whose score is None could not be tried, and do not
            count.
        scores: The score of every row in order, 0.0 to 1.0; None where it could not be tried.
        failed: How many rows went wrong.
        usage: LM calls, tokens and cost.
    """

    def __init__(self, *, kept: int | None = None) -> None:
        self.rows: list[RowResult] = []
        self.errors: list[RowResult] = []
        self.failed = 0
        self.usage = Usage()
        self.score = 0.0
        self._kept = math.inf if kept is None else kept
        self._scores = array("d")
        self._done = 0

    @property
    def done(self) -> int:
        """How many rows are done."""
        return self._done

    @property
    def scores(self) -> list[float | None]:
        """The score of every row in order."""
        return [None if math.isnan(score) else score for score in self._scores]

    def add(self, result: RowResult) -> None:
        """Take in one more row, in whatever order they are done."""
        self._done += 1
        missing = result.row + 1 - len(self._scores)
        self._scores.extend([math.nan] * missing)
        self._scores[result.row] = math.nan if result.score is None else result.score
        self.usage += result.usage
        if result.row < self._kept:
            self.rows.append(result)
        if result.error is not None:
            self.failed += 1
            if len(self.errors) < self._kept:
                self.errors.append(result)

    def finish(self) -> None:
        """Put the rows in order, and score them.

        Raises:
            EvaluationError: If none has a score.
        """
        self.rows.sort(key=lambda result: result.row)
        self.errors.sort(key=lambda result: result.row)
        scores = [score for score in self._scores if not math.isnan(score)]
        if not scores:
            raise EvaluationError(
                f"no row could be scored; {self.errors[0].error if self.errors else 'there are none'}"
            )
        self.score = percent(scores)

    def __repr__(self) -> str:
        return f"EvaluationResult(score={self.score}, rows={len(self._scores)}, errors={self.failed})"


class Evaluate:
    """Score programs on a data set.

        result = await Evaluate(devset, "exact_match")(program)

    Rows are taken as they are needed, `concurrency` of them at a time. So a data set may be longer than memory: a
    `DataFile`, or any iterable of examples.

    Args:
        devset: Examples that know their inputs.
        metric: A function, a built-in metric's name, or "package.module:function".
        concurrency: Rows worked on at once; those that wait to be tried again do not count.
        max_errors: Stop with an error once more rows than this have failed: a count, or a share below 1, of all rows of
            a list, and else of those done once there are a hundred. None never stops. The error has the finished rows.
        keep_rows: How many row results are kept, with their predictions, the first ones; by default all of a list,
            and 1,000 of anything else. Scores are kept of all.
        on_row: Called with every row's result when it is done, for instance to write it somewhere.

    Raises:
        DatasetError: If there are no rows, or one does not know its inputs; of an iterable that is no list, when it is
            read.
        ConfigurationError: If `concurrency` is below 1, `keep_rows` or `max_errors` below 0, or `devset` a file's name.
        UnknownNameError: If no built-in metric has that name.
    """

    def __init__(
        self,
        devset: Iterable[Example],
        metric: MetricLike,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        max_errors: float | None = None,
        keep_rows: int | None = None,
        on_row: Callable[[RowResult], None] | None = None,
    ) -> None:
        self.devset = _checked(devset)
        if concurrency < 1:
            raise ConfigurationError(f"Evaluate: concurrency is {concurrency}, but a row must be in flight at least")
        if keep_rows is not None and keep_rows < 0:
            raise ConfigurationError(f"Evaluate: keep_rows is {keep_rows}; give 0 or more")
        if max_errors is not None and max_errors < 0:
            raise ConfigurationError(f"Evaluate: max_errors is {max_errors}; give a count, a share below 1, or None")
        self.metric = resolve_metric(metric)
        self.concurrency = concurrency
        self.max_errors = max_errors
        self.keep_rows = keep_rows
        self.on_row = on_row

    async def __call__(self, program: Callee) -> EvaluationResult:
        """Run and score every row.

        Raises:
            EvaluationError: If more than `max_errors` rows failed, none could be scored, or the key or the model was
                refused after some rows were done; `rows` has those.
            ConfigurationError: If there is no LM or no key.
            LMError: If the key or the model was refused before any row was done.
            MetricError: If the metric raised or returned no score.
            DatasetError: If a row that is read now cannot be used, or there are none.
            ProgramError: If `program` is nothing that can be called.
        """
        if not callable(cast("Any", program)):
            raise ProgramError(f"Evaluate scores a module, or an async function of the inputs, not {program!r:.80}")
        devset, concurrency, kept = self.devset, self.concurrency, self.keep_rows
        if isinstance(devset, Sequence):
            concurrency = min(concurrency, len(devset))
        else:
            devset = _read(devset)
            kept = ROWS_KEPT_OF_A_STREAM if kept is None else kept
        found = EvaluationResult(kept=kept)

        def take(result: RowResult) -> None:
            found.add(result)
            if self.on_row is not None:
                self.on_row(result)
            if result.error is not None and self._are_too_many(found):
                raise EvaluationError(
                    f"{found.failed} rows failed, more than max_errors={self.max_errors}; "
                    f"the last was row {result.row}: {result.error}"
                )

        try:
            await score_rows(
                program, enumerate(devset), self.metric, concurrency=concurrency, on_outage="record", on_row=take
            )
            found.finish()
        except (EvaluationError, LMError) as error:
            rows = sorted(found.rows, key=lambda result: result.row)
            if isinstance(error, LMError) and not rows:
                raise
            raise EvaluationError(_stopped(error, found.done, len(rows)), rows=rows) from error
        return found

    def run(self, program: Callee) -> EvaluationResult:
        """The same as `await evaluate(program)`, from synchronous code; works inside a notebook too."""
        return run_synchronously(self(program))

    def _are_too_many(self, found: EvaluationResult) -> bool:
        most = self.max_errors
        if most is None:
            return False
        if not 0 < most < 1:
            return found.failed > most
        if isinstance(self.devset, Sequence):
            return found.failed > most * len(self.devset)
        return found.done >= _ROWS_BEFORE_A_SHARE and found.failed > most * found.done


def _stopped(error: EvaluationError | LMError, done: int, kept: int) -> str:
    if isinstance(error, EvaluationError):
        return str(error)
    had = "whose results" if kept == done else f"{kept} of whose results"
    return f"stopped after {done} rows, {had} this error has: {describe(error)}"


def _checked(devset: Iterable[Example]) -> Iterable[Example]:
    if isinstance(devset, (str, Path)):
        raise ConfigurationError(
            f"Evaluate: to read rows from {devset}, write Evaluate(DataFile({str(devset)!r}, inputs=[…]), …), with "
            "DataFile from dspex_core.datasets"
        )
    if not isinstance(cast("Any", devset), Iterable):
        raise DatasetError(f"Evaluate: a data set is examples, not {devset!r:.80}")
    if isinstance(devset, Sequence):
        if not devset:
            raise DatasetError("Evaluate: the data set has no rows")
        require_inputs(devset, what="Evaluate")
    return devset


def _read(devset: Iterable[Example]) -> Iterator[Example]:
    row = -1
    for row, example in enumerate(devset):
        try:
            example.input_names  # noqa: B018 - raises if they are not known
        except InputError as error:
            raise DatasetError(f"Evaluate, row {row}: {error}") from None
        yield example
    if row < 0:
        raise DatasetError("Evaluate: the data set has no rows; an iterator gives them once only")
