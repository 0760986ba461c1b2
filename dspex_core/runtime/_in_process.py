import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from dspex_core import events
from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.evaluate import RowResult, evaluate_rows, summary_of
from dspex_core.lm import LM
from dspex_core.metrics import resolve_metric
from dspex_core.modules import Module
from dspex_core.record import Example
from dspex_core.runtime._trace import trace_row, trace_rows
from dspex_core.seam import (
    Dataset,
    Evaluation,
    LMConfig,
    LMRequest,
    LMResponse,
    MetricLike,
    Program,
    RowTrace,
    TraceRequest,
    TraceResult,
    add_usage,
    scoped_runtime,
)
from dspex_core.usage import Usage


class InProcessRuntime:
    """Does everything right here, in this process.

    Args:
        lm: The model in force, for predictors that have none of their own.
        lm_for: Finds the LM object of a configuration; by default one is made and kept for each.
        concurrency: Rows in flight at once; by default as many as calls the LM allows.
        rollout: Above 0, every call is a fresh sample at temperature 1, with a cache place of its own.
    """

    def __init__(
        self,
        lm: LM | None = None,
        *,
        lm_for: Callable[[LMConfig], LM] | None = None,
        concurrency: int | None = None,
        rollout: int = 0,
    ) -> None:
        self._lm = lm
        self._lms: dict[LMConfig, LM] = {}
        self._lm_for = lm_for or self._remembered
        self._concurrency = concurrency
        self._rollout = rollout

    @property
    def lm(self) -> LM | None:
        """The model in force."""
        return self._lm

    async def generate(self, request: LMRequest) -> LMResponse:
        """Call the model, with this runtime's rollout if it has one."""
        if self._rollout:
            request = request.model_copy(update={"rollout_id": self._rollout, "temperature": 1.0})
        response = await self._lm_of(request.lm).generate(request)
        add_usage(response.usage)
        return response

    async def call_tool(self, call: ToolCall) -> ToolResult:
        """Call a tool here."""
        with scoped_runtime(self):
            return await call.tool.invoke(call.args, idempotency_key=call.idempotency_key)

    async def rows(self, dataset: Dataset, indices: Sequence[int]) -> list[Example]:
        """Rows of a list."""
        examples = _at_hand(dataset)
        return [examples[index] for index in indices]

    async def evaluate(self, program: Program, dataset: Dataset, *, metric: MetricLike) -> Evaluation:
        """Score a program here, publishing progress as rows are done."""
        examples = _at_hand(dataset)
        done, total, usage = 0, 0.0, Usage()

        def tell(result: RowResult) -> None:
            nonlocal done, total, usage
            done += 1
            total += result.score or 0.0
            usage += result.usage
            events.publish(events.RowsEvaluated(rows=done, score=round(100 * total / done, 2), usage=usage))

        with scoped_runtime(self):
            results = await evaluate_rows(
                _runnable(program),
                enumerate(examples),
                resolve_metric(metric),
                concurrency=self._rows_in_flight(len(examples)),
                on_outage="raise",
                on_row=tell,
            )
        return summary_of(results)

    async def trace(self, program: Program, dataset: Dataset, request: TraceRequest) -> TraceResult:
        """Run rows of a list, and keep what each predictor saw and said."""
        return await self.trace_examples(program, await self.rows(dataset, request.rows), request)

    async def trace_examples(self, program: Program, examples: Sequence[Example], request: TraceRequest) -> TraceResult:
        """The same for examples at hand: those of `request.rows`, in that order."""
        module = _runnable(program)
        metric = None if request.metric is None else resolve_metric(request.metric)
        lm = self._lm if request.lm is None else self._lm_for(request.lm)
        slots = asyncio.Semaphore(self._rows_in_flight(len(examples)))

        async def attempt(row: int, example: Example, rollout: int) -> RowTrace:
            runtime = InProcessRuntime(lm, lm_for=self._lm_for, rollout=rollout)
            async with slots:
                return await trace_row(runtime, module, row, example, metric=metric, threshold=request.threshold)

        # A metric that asks a model judges every rollout alike.
        with scoped_runtime(InProcessRuntime(lm, lm_for=self._lm_for)):
            return await trace_rows(attempt, list(zip(request.rows, examples, strict=True)), request)

    def emit(self, event: events.Event) -> None:
        """Publish in this process."""
        events.publish(event)

    def _rows_in_flight(self, rows: int) -> int:
        limit = self._concurrency or (self._lm.config.concurrency if self._lm else None) or 64
        return max(1, min(limit, rows))

    def _lm_of(self, config: LMConfig | None) -> LM:
        if config is not None:
            return self._lm_for(config)
        if self._lm is None:
            raise ConfigurationError(
                "no LM is set: call configure(lm=LM('openai/gpt-4o-mini')) or use `with using(lm=…):`"
            )
        return self._lm

    def _remembered(self, config: LMConfig) -> LM:
        if config not in self._lms:
            self._lms[config] = LM.from_config(config)
        return self._lms[config]


def _at_hand(dataset: Dataset) -> Sequence[Example]:
    if isinstance(dataset, Sequence):
        return dataset
    raise DatasetError(f"the stored data set {dataset.digest} must be loaded before it is used in this process")


def _runnable(program: Program) -> Module:
    return cast("Module", cast("Any", program))
