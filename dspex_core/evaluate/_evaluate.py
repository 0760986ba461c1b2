from collections.abc import Sequence

from dspex_core.errors import ConfigurationError, DatasetError, EvaluationError
from dspex_core.evaluate._rows import Callee, RowResult, evaluate_rows
from dspex_core.metrics import resolve_metric
from dspex_core.record import Example, require_inputs
from dspex_core.seam import MetricLike, percent
from dspex_core.usage import Usage

DEFAULT_CONCURRENCY = 64


class EvaluationResult:
    """What an `Evaluate` found.

    Attributes:
        score: Mean score in percent, 0 to 100, over the rows that have one.
        rows: A result for every row, in order.
        errors: The rows that went wrong. Those whose score is None could not be tried, and do not count.
        usage: LM calls, tokens and cost.
    """

    def __init__(self, rows: list[RowResult]) -> None:
        self.rows = rows
        self.errors = [row for row in rows if row.error is not None]
        self.usage = sum((row.usage for row in rows), start=Usage())
        scores = [row.score for row in rows if row.score is not None]
        if not scores:
            raise EvaluationError(f"no row could be scored; {rows[0].error if rows else 'there are none'}")
        self.score = percent(scores)

    def __repr__(self) -> str:
        return f"EvaluationResult(score={self.score}, rows={len(self.rows)}, errors={len(self.errors)})"


class Evaluate:
    """Score programs on a data set.

        result = await Evaluate(devset, "exact_match")(program)

    Args:
        devset: Examples that know their inputs.
        metric: A function, a built-in metric's name, or "package.module:function".
        concurrency: Rows in flight at once.
        max_errors: Stop with an error once more rows than this have failed; None never stops.

    Raises:
        DatasetError: If there are no rows, or one does not know its inputs.
        ConfigurationError: If `concurrency` is below 1.
        UnknownNameError: If no built-in metric has that name.
    """

    def __init__(
        self,
        devset: Sequence[Example],
        metric: MetricLike,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        max_errors: int | None = None,
    ) -> None:
        if not devset:
            raise DatasetError("Evaluate: the data set has no rows")
        require_inputs(devset, what="Evaluate")
        if concurrency < 1:
            raise ConfigurationError(f"Evaluate: concurrency is {concurrency}, but a row must be in flight at least")
        self.devset = devset
        self.metric = resolve_metric(metric)
        self.concurrency = concurrency
        self.max_errors = max_errors

    async def __call__(self, program: Callee) -> EvaluationResult:
        """Run and score every row.

        Raises:
            EvaluationError: If more than `max_errors` rows failed, or none could be scored.
            ConfigurationError: If there is no LM or no key.
            LMError: If the key or the model was refused.
            MetricError: If the metric raised or returned no score.
        """
        failed: list[RowResult] = []

        def count(result: RowResult) -> None:
            if result.error is not None:
                failed.append(result)
                if self.max_errors is not None and len(failed) > self.max_errors:
                    raise EvaluationError(
                        f"{len(failed)} rows failed, more than max_errors={self.max_errors}; "
                        f"the last was row {result.row}: {result.error}"
                    )

        results = await evaluate_rows(
            program,
            enumerate(self.devset),
            self.metric,
            concurrency=min(self.concurrency, len(self.devset)),
            on_outage="record",
            on_row=count,
        )
        return EvaluationResult(results)
