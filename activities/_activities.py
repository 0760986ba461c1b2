from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python
from temporalio import activity

from dspex_core.artifacts import ArtifactStore, DatasetReader
from dspex_core.budget import Limits
from dspex_core.errors import BudgetReachedError
from dspex_core.evaluate import RowResult, evaluate_rows, in_order_of, summary_of
from dspex_core.lm import LM, TrustedAddresses
from dspex_core.metrics import resolve_metric
from dspex_core.modules import Module, build_program
from dspex_core.references import CodeReference, import_code
from dspex_core.requests import (
    CALL_TOOL,
    CANCEL_FINE_TUNING,
    CHECK_CODE,
    EVALUATE_CHUNK,
    FIND_ROWS,
    FOLLOW_FINE_TUNING,
    GENERATE,
    READ_ROWS,
    RETRIEVE,
    RUN_CODE,
    RUN_PROGRAM,
    START_FINE_TUNING,
    SUGGEST,
    TRACE_ROWS,
    CallTool,
    CheckCode,
    ChunkEvaluation,
    CodeAnswer,
    EvaluateChunk,
    FindRows,
    FoundRows,
    Generate,
    Held,
    Kept,
    ProgramAnswer,
    ProgramOutline,
    ReadRows,
    Rows,
    RunCode,
    RunProgram,
    Search,
    SearchAnswer,
    StartFineTuning,
    Suggest,
    Suggestions,
    TraceRows,
)
from dspex_core.retrieval import Retrievers
from dspex_core.runtime import InProcessRuntime
from dspex_core.seam import (
    CodeCell,
    Decision,
    FineTuningJob,
    LMConfig,
    LMResponse,
    RetrieveRequest,
    ToolCall,
    ToolResult,
    TraceRequest,
    TraceResult,
    compiling,
    metered,
    rolled_out,
    scoped_approver,
    scoped_runtime,
    spending,
)
from dspex_core.tools import Tool
from dspex_core.usage import Usage

from ._breakers import BreakerNews
from ._failures import OUTAGE_SECONDS, reported
from ._finished import Finished
from ._heartbeats import heartbeats
from ._most_calls import most_calls
from ._relay import relayed, relayed_program
from ._turns import Turn, Turns
from ._winding import Winding

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

NOT_ASKED = "call it by its name, so that a person can be asked"
"""Why code may not call a tool that needs approval: the workflow has not seen that it would."""

_ROW_RESULTS = TypeAdapter(list[RowResult])


class Activities:
    """All activities of a worker, over what its process shares: LM clients, the artifact store, data sets read.

    Args:
        store: Where data sets are and row results go.
        trust: Packages that programs and metrics may be imported from.
        trust_api_base: Addresses of models to which keys are sent, besides those that need no naming.
        outage_seconds: How long a provider or a store may fail before the run is parked.

    Raises:
        ConfigurationError: If one of these is no address.
    """

    def __init__(
        self,
        store: ArtifactStore,
        *,
        trust: Collection[str],
        trust_api_base: Collection[str] = (),
        outage_seconds: float = OUTAGE_SECONDS,
    ) -> None:
        self._outage_seconds = outage_seconds
        self._store = store
        self._datasets = DatasetReader(store)
        self._finished = Finished(store)
        self._trust = trust
        self._addresses = TrustedAddresses(trust_api_base)
        self._lms: dict[LMConfig, LM] = {}
        self.turns = Turns()
        self._retrievers = Retrievers(trust=self._trust)
        self._breakers = BreakerNews()

    @activity.defn(name=EVALUATE_CHUNK)
    async def evaluate_chunk(self, request: EvaluateChunk, outline: ProgramOutline) -> ChunkEvaluation:
        """Score a program on a chunk of rows."""
        winding = Winding()

        async def work(turn: Turn) -> ChunkEvaluation:
            program = self._program(outline)
            metric = resolve_metric(request.metric, trust=self._trust)
            indices = request.indices
            rows = await self._datasets.read(request.dataset, indices)
            most = await most_calls(self._store)
            runtime, finished, held = self._runtime(request.lm), list[RowResult](), None
            with metered() as meter:
                try:
                    async with self.turns.of(request.lm, rows=len(indices)):
                        turn.begins()
                        with scoped_runtime(runtime), compiling(really=request.compiling), spending(most):
                            await evaluate_rows(
                                program,
                                winding.until_told(zip(indices, rows.examples(), strict=True)),
                                metric,
                                concurrency=min(len(indices), request.lm.concurrency),
                                on_outage="raise",
                                on_row=finished.append,
                            )
                except BudgetReachedError as error:
                    held = Held(reason=str(error), is_budget=True)
            chunk = await self._chunk(indices, finished, spent=meter.usage, held=held)
            if request.kept is not None:
                rows = indices if chunk.indices is None else chunk.indices
                await self._finished.keep_rows(request.kept, chunk, rows)
            return chunk

        async with heartbeats():
            with self.turns.taken() as turn, self._breakers.told_to(request.run_id, request.lm.model):
                return await reported(
                    lambda: winding.finished(work(turn)),
                    allowance=request.allowance,
                    outage_seconds=self._outage_seconds,
                    payer=request.payer,
                    heir_of=request.heir_of,
                )

    async def _chunk(
        self, indices: Sequence[int], finished: Sequence[RowResult], *, spent: Usage, held: Held | None
    ) -> ChunkEvaluation:
        """What became of the rows that are finished, which may not be all."""
        known = {result.row for result in finished}
        done = [row for row in indices if row in known]
        whole = len(done) == len(indices)
        results = in_order_of(done, finished)
        summary = summary_of(results)
        return ChunkEvaluation(
            scores=summary.scores,
            failed_rows=summary.failed_rows,
            failures=summary.failures,
            # What rows took that are not finished counts as well; of the others, the sum is the same to the last digit.
            usage=summary.usage if whole else spent,
            rows=await self._store.put(_ROW_RESULTS.dump_json(results, fallback=str)),
            indices=None if whole else tuple(done),
            held=None if whole else held,
        )

    @activity.defn(name=FIND_ROWS)
    async def find_rows(self, request: FindRows) -> FoundRows:
        """Find what an earlier run finished of an evaluation."""
        async with heartbeats():
            return await self._reported(lambda: self._finished.rows(request.kept))

    async def _reported(
        self, work: Callable[[], Awaitable[T]], allowance: Limits | None = None, *, code: str | None = None
    ) -> T:
        return await reported(work, allowance=allowance, outage_seconds=self._outage_seconds, code=code)

    async def _once(
        self, kept: Kept | None, answer: type[M], work: Callable[[], Awaitable[M]], allowance: Limits | None = None
    ) -> M:
        return await self._reported(lambda: self._finished.once(kept, answer, work), allowance)

    @activity.defn(name=TRACE_ROWS)
    async def trace_rows(self, request: TraceRows) -> TraceResult:
        """Run training rows and keep what each predictor saw and said."""

        async def work() -> TraceResult:
            rows = await self._datasets.read(request.dataset, request.rows)
            metric = None if request.metric is None else resolve_metric(request.metric, trust=self._trust)
            wanted = TraceRequest(
                rows=request.rows,
                wanted=request.wanted,
                metric=metric,
                threshold=request.threshold,
                rounds=request.rounds,
                rollout=request.rollout,
                keep=request.keep,
            )
            with compiling(really=request.compiling):
                return await self._runtime(request.lm).trace_examples(
                    self._program(request.program), rows.examples(), wanted
                )

        async with heartbeats():
            with self._breakers.told_to(_run_of(request), request.lm.model):
                return await self._once(request.kept, TraceResult, work, request.allowance)

    @activity.defn(name=SUGGEST)
    async def suggest(self, request: Suggest) -> Suggestions:
        """Say which combinations to try next."""

        async def work() -> Suggestions:
            runtime = InProcessRuntime(lm_for=self._lm)
            found = await runtime.suggest(request.space, request.history, count=request.count, seed=request.seed)
            return Suggestions(combinations=tuple(found))

        async with heartbeats():
            return await self._once(request.kept, Suggestions, work)

    @activity.defn(name=CHECK_CODE)
    async def check_code(self, request: CheckCode) -> None:
        """See whether code that a workflow is to import is here, and trusted."""

        async def work() -> None:
            import_code(request.code, trust=self._trust, what=request.what)

        async with heartbeats():
            await self._reported(work)

    @activity.defn(name=READ_ROWS)
    async def read_rows(self, request: ReadRows) -> Rows:
        """Read rows of a data set."""
        async with heartbeats():
            return await self._reported(lambda: self._datasets.read(request.dataset, request.indices))

    @activity.defn(name=GENERATE)
    async def generate(self, request: Generate) -> LMResponse:
        """Ask a model."""

        async def work() -> LMResponse:
            runtime = self._runtime(request.lm)
            with compiling(really=request.compiling):
                if request.stream_to is not None:
                    return await relayed(runtime.stream(request.request), call=request.stream_to)
                return await runtime.generate(request.request)

        async with heartbeats():
            with self._breakers.told_to(_run_of(request), (request.request.lm or request.lm).model):
                return await self._once(request.kept, LMResponse, work, request.allowance)

    @activity.defn(name=CALL_TOOL)
    async def call_tool(self, request: CallTool) -> ToolResult:
        """Call a tool. After a crash it is called again, with the same idempotency key."""
        key = _idempotency_key()

        async def work() -> ToolResult:
            tool = Tool.from_spec(request.tool).imported(trust=self._trust)
            with metered() as meter:
                result = await self._runtime(request.lm).call_tool(
                    ToolCall(tool=tool, args=request.args, idempotency_key=key, approved=request.approved)
                )
            return result.model_copy(update={"usage": meter.usage})

        async with heartbeats():
            return await self._reported(work, request.allowance)

    @activity.defn(name=RUN_CODE)
    async def run_code(self, request: RunCode) -> CodeAnswer:
        """Run a model's code. After a crash it is run again, and its tools get the same idempotency keys."""
        key = _idempotency_key()

        async def work() -> CodeAnswer:
            tools = tuple(Tool.from_spec(tool).imported(trust=self._trust) for tool in request.tools)
            before = None if request.session is None else await self._store.get(request.session)
            cell = CodeCell(code=request.code, tools=tools, session=before, idempotency_key=key)
            decision = Decision(approved=request.approved, reason=NOT_ASKED)
            with metered() as meter, scoped_approver(lambda _: decision):
                result = await self._runtime(request.lm).run_code(cell)
            after = None if result.session is None else await self._store.put(result.session)
            return CodeAnswer(text=result.text, failed=result.failed, session=after, usage=meter.usage)

        async with heartbeats():
            return await self._reported(work, request.allowance)

    @activity.defn(name=RETRIEVE)
    async def retrieve(self, request: Search) -> SearchAnswer:
        """Search for passages."""

        async def work() -> SearchAnswer:
            runtime = self._runtime(request.lm)
            with metered() as meter, scoped_runtime(runtime):
                passages = await runtime.retrieve(
                    RetrieveRequest(query=request.query, k=request.k, retriever=request.retriever)
                )
            return SearchAnswer(passages=tuple(passages), usage=meter.usage)

        async with heartbeats():
            return await self._reported(work)

    @activity.defn(name=RUN_PROGRAM)
    async def run_program(self, request: RunProgram) -> ProgramAnswer:
        """Run a user's own program once."""

        async def work() -> ProgramAnswer:
            sample = rolled_out(request.rollout, temperature=request.rollout_temperature)
            program = self._program(request.program)
            # What an earlier try told cannot be taken back: another one only answers.
            is_streamed = request.stream and activity.info().attempt == 1
            with scoped_runtime(self._runtime(request.lm)), sample:
                work = relayed_program(program, request.inputs) if is_streamed else program(**request.inputs)
                prediction = await work
            outputs = to_jsonable_python(prediction.to_dict(), fallback=str)
            return ProgramAnswer(outputs=outputs, usage=prediction.usage)

        structure = request.program.structure
        code = structure.code.path.partition(":")[0] if structure.kind == "imported" else None
        async with heartbeats():
            return await self._reported(work, request.allowance, code=code)

    @activity.defn(name=START_FINE_TUNING)
    async def start_fine_tuning(self, request: StartFineTuning) -> FineTuningJob:
        """Have a model trained. After a crash the job is found again, and a trainer is called again."""

        async def work() -> FineTuningJob:
            wanted, trainer = request.request, request.request.trainer
            if isinstance(trainer, CodeReference):
                found = import_code(trainer, trust=self._trust, what="trainer")
                wanted = wanted.model_copy(update={"trainer": found})
            return await self._runtime(request.lm).start_fine_tuning(self._program(request.program), wanted)

        async with heartbeats():
            return await self._reported(work)

    @activity.defn(name=FOLLOW_FINE_TUNING)
    async def follow_fine_tuning(self, job: FineTuningJob) -> FineTuningJob:
        """Say where a job stands."""
        async with heartbeats():
            return await self._reported(lambda: self._runtime(job.lm).follow_fine_tuning(job))

    @activity.defn(name=CANCEL_FINE_TUNING)
    async def cancel_fine_tuning(self, job: FineTuningJob) -> None:
        """End a job early."""
        async with heartbeats():
            await self._reported(lambda: self._runtime(job.lm).cancel_fine_tuning(job))

    async def close(self) -> None:
        """Close the connections to providers."""
        for lm in self._lms.values():
            await lm.close()

    def _program(self, outline: ProgramOutline) -> Module:
        return build_program(outline.structure, trust=self._trust).with_state(outline.state)

    def _runtime(self, lm: LMConfig) -> InProcessRuntime:
        return InProcessRuntime(self._lm(lm), lm_for=self._lm, retriever_for=self._retrievers.find)

    def _lm(self, config: LMConfig) -> LM:
        if config not in self._lms:
            # Whoever starts a run names the address, and the key is this worker's.
            self._addresses.require(config)
            self._lms[config] = LM.from_config(config)
        return self._lms[config]


def _run_of(request: Generate | TraceRows) -> str | None:
    """The compile that an activity is of; None if it is of something else."""
    return activity.info().workflow_id if request.compiling else None


def _idempotency_key() -> str:
    """The same in every try of this activity, and in no other one."""
    info = activity.info()
    return f"{info.workflow_id}/{info.workflow_run_id}/{info.activity_id}"
