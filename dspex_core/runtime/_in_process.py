import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager
from contextvars import ContextVar
from typing import Any, cast
from weakref import WeakKeyDictionary

from dspex_core import events
from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.evaluate import Callee, RowResult, evaluate_row, evaluate_rows, in_order_of, summary_of
from dspex_core.lm import LM
from dspex_core.metrics import resolve_metric
from dspex_core.modules import Module
from dspex_core.progress import RowTally
from dspex_core.record import Example, Prediction
from dspex_core.references import CodeReference
from dspex_core.retrieval import Retrievers
from dspex_core.runtime._approving import refusal_of
from dspex_core.runtime._restarting import with_restarts
from dspex_core.runtime._searching import passages_found
from dspex_core.runtime._slots import Slots
from dspex_core.runtime._telling import end_lm_call, lm_call, told_search, told_tool_call
from dspex_core.runtime._trace import trace_row, trace_rows
from dspex_core.sandbox import Sandbox
from dspex_core.seam import (
    CodeCell,
    CodeResult,
    Dataset,
    Evaluation,
    FineTuningJob,
    FineTuningRequest,
    LMConfig,
    LMRequest,
    LMResponse,
    MetricLike,
    Passage,
    Place,
    Program,
    Retriever,
    RetrieveRequest,
    RowTrace,
    ToolCall,
    ToolResult,
    TraceRequest,
    TraceResult,
    Trial,
    Work,
    add_usage,
    calling,
    configuration_of,
    scoped_runtime,
)
from dspex_core.synchronous import in_thread
from dspex_core.training import cancel_job, follow_job, start_job

_told: ContextVar[Callable[[int, float], None] | None] = ContextVar("dspex_row_told", default=None)


class InProcessRuntime:
    """Does everything right here, in this process.

    Args:
        lm: The model in force, for predictors that have none of their own.
        lm_for: Finds the LM object of a configuration; by default one is made and kept for each.
        concurrency: Rows in flight at once; by default as many as calls the LM allows.
        retriever: The retriever in force, for a `Retrieve` that has none of its own.
        retriever_for: Finds the retriever that a reference names; by default it is imported, whatever its package.
    """

    def __init__(
        self,
        lm: LM | None = None,
        *,
        lm_for: Callable[[LMConfig], LM] | None = None,
        concurrency: int | None = None,
        retriever: Retriever | None = None,
        retriever_for: Callable[[CodeReference], Awaitable[Retriever]] | None = None,
    ) -> None:
        self._lm = lm
        self._lms: dict[LMConfig, LM] = {}
        self._lm_for = lm_for or self._remembered
        self._concurrency = concurrency
        self._retriever = retriever
        self._retriever_for = retriever_for or Retrievers(trust=None).find
        self._tally = RowTally(events.publish, wanted=lambda: events.wanted("rows_evaluated"))
        self._slots_of: WeakKeyDictionary[asyncio.AbstractEventLoop, Slots] = WeakKeyDictionary()

    @property
    def lm(self) -> LM | None:
        """The model in force."""
        return self._lm

    @property
    def retriever(self) -> Retriever | None:
        """The retriever in force."""
        return self._retriever

    def but(self, *, lm: LM | None = None, retriever: Retriever | None = None) -> "InProcessRuntime":
        """This runtime with another model or retriever in force; it shares the models and retrievers found so far."""
        return InProcessRuntime(
            self._lm if lm is None else lm,
            lm_for=self._lm_for,
            concurrency=self._concurrency,
            retriever=self._retriever if retriever is None else retriever,
            retriever_for=self._retriever_for,
        )

    async def generate(self, request: LMRequest) -> LMResponse:
        """Call the model."""
        lm = self._lm_of(request.lm)
        call = lm_call(lm, request) if events.watched() else None
        try:
            response = await lm.generate(request)
        except BaseException as error:
            if call is not None:
                call.fail(error)
            raise
        add_usage(response.usage)
        if call is not None:
            end_lm_call(call, response)
        return response

    async def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """Call the model and hand on what it says as it arrives."""
        lm = self._lm_of(request.lm)
        call = lm_call(lm, request) if events.watched() else None
        try:
            async with aclosing(lm.stream(request)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, LMResponse):
                        add_usage(piece.usage)
                        if call is not None:
                            end_lm_call(call, piece)
                            call = None
                    yield piece
        except BaseException as error:
            if call is not None:
                call.fail(error)
            raise

    async def retrieve(self, request: RetrieveRequest) -> list[Passage]:
        """Search with the request's retriever, or with this runtime's."""
        retriever = self._retriever if request.retriever is None else request.retriever
        if retriever is None:
            raise ConfigurationError(
                "no retriever is set: write Retrieve(retriever=…), or put one in force with `using(lm=…, retriever=…)`"
            )
        if events.watched():
            return await told_search(retriever, request, self._search(retriever, request))
        return await self._search(retriever, request)

    async def _search(self, retriever: Retriever | CodeReference, request: RetrieveRequest) -> list[Passage]:
        if isinstance(retriever, CodeReference):
            retriever = await self._retriever_for(retriever)
        return await passages_found(retriever, request.query, request.k)

    async def call_tool(self, call: ToolCall) -> ToolResult:
        """Call a tool here, if no person rejects it."""
        if (refusal := await refusal_of(call)) is not None:
            return refusal
        with scoped_runtime(self):
            work = call.tool.invoke(call.args, idempotency_key=call.idempotency_key)
            return await (told_tool_call(call, work) if events.watched() else work)

    async def run_code(self, cell: CodeCell) -> CodeResult:
        """Run code in a process of its own, and its tools here."""
        return await Sandbox().run(cell, self.call_tool)

    async def run_part(self, part: Program, inputs: dict[str, Any], *, tries: int) -> Prediction:
        """Run a part here."""
        return await with_restarts(_runnable(part), inputs, tries=tries)

    async def rows(self, dataset: Dataset, indices: Sequence[int]) -> list[Example]:
        """Rows of a list."""
        examples = _at_hand(dataset)
        return [examples[index] for index in indices]

    async def evaluate(
        self,
        program: Program,
        dataset: Dataset,
        *,
        metric: MetricLike,
        rows: Sequence[int] | None = None,
        lm: LMConfig | None = None,
    ) -> Evaluation:
        """Score a program here, publishing progress as rows are done."""
        examples = _at_hand(dataset)
        indices = range(len(examples)) if rows is None else rows
        also_tell = _told.get()

        def tell(result: RowResult) -> None:
            self._tally.add(rows=1, total=result.score or 0.0, usage=result.usage)
            if also_tell is not None:
                also_tell(result.row, result.score or 0.0)

        with scoped_runtime(self if lm is None else self.but(lm=self._lm_for(lm))), self._tally.evaluation():
            results = await evaluate_rows(
                self._in_turn(program),
                ((index, examples[index]) for index in indices),
                resolve_metric(metric),
                concurrency=max(1, min(self._rows_in_flight, len(indices))),
                on_outage="raise",
                on_row=tell,
            )
        return summary_of(in_order_of(indices, results))

    @contextmanager
    def scored_so_far(self, tell: Callable[[int, float], None]) -> Generator[None]:
        """Tell of every row of the block's evaluations as soon as it is done."""
        token = _told.set(tell)
        try:
            yield
        finally:
            _told.reset(token)

    def working_ahead(self, more: Callable[[], Work | None]) -> AbstractContextManager[None]:
        """Give idle places work ahead, as long as rows wait to be tried again."""
        return self._slots().working_ahead(more)

    async def score_ahead(
        self, program: Program, dataset: Dataset, *, metric: MetricLike, row: int, lm: LMConfig | None = None
    ) -> Evaluation:
        """Score a row here, without a word about its progress."""
        example, turn = _at_hand(dataset)[row], self._in_turn(program)
        with calling(), scoped_runtime(self if lm is None else self.but(lm=self._lm_for(lm))):
            return summary_of([await evaluate_row(turn, row, example, resolve_metric(metric), on_outage="raise")])

    def _in_turn(self, program: Program) -> Callee:
        module, slots = _runnable(program), self._slots()

        async def in_turn(**inputs: Any) -> Prediction:
            async with Place(slots), slots.row():
                return await module(**inputs)

        return in_turn

    async def trace(self, program: Program, dataset: Dataset, request: TraceRequest) -> TraceResult:
        """Run rows of a list, and keep what each predictor saw and said."""
        return await self.trace_examples(program, await self.rows(dataset, request.rows), request)

    async def trace_examples(self, program: Program, examples: Sequence[Example], request: TraceRequest) -> TraceResult:
        """The same for examples at hand: those of `request.rows`, in that order."""
        module = _runnable(program)
        metric = None if request.metric is None else resolve_metric(request.metric)
        lm = self._lm if request.lm is None else self._lm_for(request.lm)
        slots = self._slots()

        async def attempt(row: int, example: Example, rollout: int) -> RowTrace:
            async with Place(slots), slots.row():
                return await trace_row(module, row, example, rollout=rollout, metric=metric, request=request)

        with calling(), scoped_runtime(self.but(lm=lm)):
            return await trace_rows(attempt, list(zip(request.rows, examples, strict=True)), request)

    async def suggest(
        self, space: Mapping[str, int], history: Sequence[Trial], *, count: int, seed: int
    ) -> list[dict[str, int]]:
        """Ask Optuna's sampler, in a thread."""

        def ask() -> list[dict[str, int]]:
            from dspex_core.runtime._suggest import suggested  # noqa: PLC0415 - importing Optuna takes half a second

            return suggested(space, history, count=count, seed=seed)

        return await in_thread(ask)

    async def start_fine_tuning(self, program: Program, request: FineTuningRequest) -> FineTuningJob:
        """Submit the job from here, or find the one that does this work already; or train here."""
        lm = configuration_of(self._lm_of(request.lm))
        return await start_job(_runnable(program), request, lm)

    async def follow_fine_tuning(self, job: FineTuningJob) -> FineTuningJob:
        """Ask its provider."""
        return await follow_job(job)

    async def cancel_fine_tuning(self, job: FineTuningJob) -> None:
        """Tell its provider."""
        await cancel_job(job)

    def emit(self, event: events.Event) -> None:
        """Publish in this process."""
        events.publish(event)

    def hears(self, kind: str) -> bool:
        """Whether somebody in this process subscribes to them."""
        return events.wanted(kind)

    @property
    def _rows_in_flight(self) -> int:
        return self._concurrency or (self._lm.config.concurrency if self._lm else None) or 64

    def _slots(self) -> Slots:
        """Shared by all that run side by side; one for each event loop that uses this runtime."""
        loop = asyncio.get_running_loop()
        if loop not in self._slots_of:
            self._slots_of[loop] = Slots(self._rows_in_flight)
        return self._slots_of[loop]

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
