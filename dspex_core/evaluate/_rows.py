import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from dspex_core.errors import ConfigurationError, LMError, LMRequestError, MetricError, RetrievalError, may_pass
from dspex_core.metrics import is_built_in, judges_parts, score_of
from dspex_core.record import Example, Prediction
from dspex_core.redaction import redacted
from dspex_core.seam import Evaluation, Metric, Place, Score, TraceStep, calling, metered
from dspex_core.synchronous import in_thread
from dspex_core.usage import Usage

_WAITING_PER_WORKING = 3

FAILURES_KEPT = 5
"""How many failed rows an `Evaluation` quotes."""


class RowResult(BaseModel):
    """What became of one row.

    Attributes:
        row: Its index in the data set.
        score: 0.0 to 1.0; None if no model could be reached, so that nothing can be said.
        feedback: The metric's words, if it gave any.
        prediction: Output fields; empty if the program failed.
        error: What went wrong, as "ErrorName: message", or None.
        usage: What it took.
    """

    model_config = ConfigDict(frozen=True)

    row: int
    score: float | None
    feedback: str = ""
    prediction: dict[str, Any] = {}
    error: str | None = None
    usage: Usage = Usage()


class Callee(Protocol):
    """Anything that predicts when called: a Module, or a function of a user's own."""

    def __call__(self, **inputs: Any) -> Awaitable[Prediction]:
        """Predict."""
        ...


OnOutage = Literal["raise", "record"]
"""What an unreachable model does to an evaluation: end it, or leave the row without a score."""


async def evaluate_rows(
    program: Callee,
    rows: Iterable[tuple[int, Example]],
    metric: Metric,
    *,
    concurrency: int,
    on_outage: OnOutage,
    on_row: Callable[[RowResult], None] | None = None,
) -> list[RowResult]:
    """Run and score rows, at most `concurrency` at a time; the next row is taken only when one is done.

    Args:
        program: What to run.
        rows: Index and example of each row; read as needed.
        metric: What scores a prediction. A synchronous one of the user's runs in a thread.
        concurrency: Rows worked on at once; those that wait to be tried again do not count.
        on_outage: What to do when a model cannot be reached after all retries.
        on_row: Called with each result as it arrives; an error that it raises ends the evaluation.

    Returns:
        Results in the order of `rows`.

    Raises as `score_rows` does.
    """
    results: list[RowResult] = []

    def keep(result: RowResult) -> None:
        results.append(result)
        if on_row is not None:
            on_row(result)

    await score_rows(program, rows, metric, concurrency=concurrency, on_outage=on_outage, on_row=keep)
    return sorted(results, key=lambda result: result.row)


async def score_rows(
    program: Callee,
    rows: Iterable[tuple[int, Example]],
    metric: Metric,
    *,
    concurrency: int,
    on_outage: OnOutage,
    on_row: Callable[[RowResult], None],
) -> None:
    """The same, keeping nothing, so that few rows are in memory, however many there are.

    A row whose call waits to be tried again does not count against `concurrency`: up to three times as many may wait.

    Raises:
        LMError: If a model could not be reached and `on_outage` is "raise", or the key or the model was refused. Rows
            in flight are finished first, so that their answers are kept.
        ConfigurationError: If there is no LM or no key.
        MetricError: If the metric raised or returned no score.
        Exception: Whatever `rows` or `on_row` raise.
    """
    source = iter(rows)
    defect: list[Exception] = []
    places = asyncio.Semaphore(concurrency)

    async def work() -> None:
        try:
            more = True
            while more:
                async with Place(places, on_left=hire):
                    more = await work_on_one()
        except Exception as error:  # noqa: BLE001 - raised below, once the rows in flight are done
            defect.append(error)

    async def work_on_one() -> bool:
        taken = None if defect else next(source, None)
        if taken is None:
            return False
        index, example = taken
        on_row(await evaluate_row(program, index, example, metric, on_outage=on_outage))
        return True

    def hire() -> None:
        if len(workers) < (1 + _WAITING_PER_WORKING) * concurrency:
            # Hired from within a row that waits, whose meters and traces are not to see the rows of another.
            workers.append(group.create_task(work(), context=outside.copy()))

    with calling():
        outside = contextvars.copy_context()
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(work()) for _ in range(concurrency)]
    if defect:
        raise defect[0]


async def evaluate_row(
    program: Callee, index: int, example: Example, metric: Metric, *, on_outage: OnOutage
) -> RowResult:
    """Run and score one row; see `evaluate_rows`."""
    with metered() as meter:
        try:
            prediction = await program(**example.inputs())
        except (Exception, SystemExit) as error:
            if is_outage(error) and not _may_be_recorded(error, on_outage):
                raise
            score = None if is_outage(error) else 0.0
            return RowResult(row=index, score=score, error=describe(error), usage=meter.usage)
        try:
            score = await apply_metric(metric, example, prediction, row=index)
        except (LMError, RetrievalError) as error:
            if not _may_be_recorded(error, on_outage):
                raise
            outputs = prediction.to_dict()
            return RowResult(row=index, score=None, prediction=outputs, error=describe(error), usage=meter.usage)
    return RowResult(
        row=index,
        score=score.value,
        feedback=score.feedback,
        prediction=prediction.to_dict(),
        usage=meter.usage,
    )


async def apply_metric(
    metric: Metric,
    example: Example,
    prediction: Prediction,
    *,
    row: int,
    trace: list[TraceStep] | None = None,
    part: tuple[str, list[TraceStep]] | None = None,
) -> Score:
    """A metric's score for one row.

    Args:
        metric: The metric.
        example: The row.
        prediction: What the program answered.
        row: The row's index, for errors.
        trace: All steps of the run, where the metric is to see them.
        part: Name and steps of the predictor to be judged; only for a metric that `judges_parts`.

    Raises:
        MetricError: If it raised or returned no score; names the row.
        LMError: If the metric asked a model that could not be reached.
        ConfigurationError: If the metric asked a model, and there is no LM or no key.
    """
    try:
        arguments = (example, prediction, trace)
        if is_built_in(metric):
            verdict = metric(*arguments)
        else:
            if judges_parts(metric):
                arguments = (*arguments, *(part or (None, None)))
            if inspect.iscoroutinefunction(metric):
                verdict = await metric(*arguments)
            else:
                verdict = await in_thread(lambda: metric(*arguments))
        if inspect.isawaitable(verdict):
            verdict = await verdict
        return score_of(verdict, metric)
    except (ConfigurationError, LMError, RetrievalError):
        raise
    except MetricError as error:
        raise MetricError(f"row {row}: {error}", retryable=error.retryable) from None
    except (Exception, SystemExit) as error:
        name = getattr(metric, "__name__", str(metric))
        said, retryable = f"metric {name} failed on row {row}: {describe(error)}", may_pass(error, code=metric)
        raise MetricError(said, retryable=retryable) from error


def in_order_of(rows: Sequence[int], results: Iterable[RowResult]) -> list[RowResult]:
    """Results in the order of these row indices, each of which has one."""
    by_row = {result.row: result for result in results}
    return [by_row[row] for row in rows]


def summary_of(results: Iterable[RowResult]) -> Evaluation:
    """Scores, failures and usage of rows that all have a score."""
    scores: list[float] = []
    failed: list[RowResult] = []
    usage = Usage()
    for result in results:
        scores.append(result.score or 0.0)
        usage += result.usage
        if result.error is not None:
            failed.append(result)
    return Evaluation(
        scores=tuple(scores),
        failed_rows=tuple(result.row for result in failed),
        failures=tuple(f"row {result.row}: {result.error}" for result in failed[:FAILURES_KEPT]),
        usage=usage,
    )


def is_outage(error: BaseException) -> bool:
    """Whether an error is of the infrastructure or its set-up, not of the program: it must never become a score."""
    return isinstance(error, (ConfigurationError, LMError, RetrievalError)) and not isinstance(error, LMRequestError)


def describe(error: BaseException) -> str:
    """An error as one line, free of keys: its class and its text."""
    text = " ".join(redacted(str(error)).split())
    return f"{type(error).__name__}: {text[:1000]}"


def _may_be_recorded(error: BaseException, on_outage: OnOutage) -> bool:
    return on_outage == "record" and isinstance(error, (LMError, RetrievalError)) and error.retryable
