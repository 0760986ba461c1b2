import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import NoneType
from typing import Any, TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    is_cancelled_exception,
)

from dspex_core.errors import ConfigurationError, LMContextLengthError, LMRequestError
from dspex_core.events import Event
from dspex_core.progress import RowTally
from dspex_core.record import Example, Prediction
from dspex_core.references import CodeReference
from dspex_core.requests import (
    CALL_TOOL,
    CANCEL_FINE_TUNING,
    CHECK_CODE,
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
    CodeAnswer,
    Generate,
    ProgramAnswer,
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
    Program,
    RetrieveRequest,
    ToolCall,
    ToolResult,
    TraceRequest,
    TraceResult,
    Trial,
    add_usage,
    is_compiling,
)
from dspex_core.usage import Usage

from ._children import Evaluations
from ._control import Controlled, cancellations, heed_cancellation, held_in
from ._evaluation import EVALUATION, evaluation_id
from ._finished import Finished
from ._gathered import Gathered
from ._options import MOST_OUTSTANDING, ActivityOptions, activity_options, training_options
from ._parts import Parts
from ._passing import outline_of, rows_named, stored, usage_in, with_changes
from ._values import EvaluationInput, ProgramRunInput

T = TypeVar("T")


class WorkflowRuntime:
    """The runtime inside a workflow: everything is an activity or a child workflow, and so survives any process.

    However much is asked for at once, so many activities and child workflows are outstanding as a server bears.

    Args:
        lm: The model in force.
        run: What holds it up, and what it may take.
        metric: The run's metric; what `evaluate` and `trace` are given names this very one.
        chunk_rows: Rows an evaluation activity takes; None leaves it to the planner.
        activity_queue: Task queue of activities; None is the workflow's own.
        on_event: Told of every event, in the workflow.
        finished: Names what is finished, for a run that goes on from this one; None where none will.
        parts: Runs supervised parts of a program.
    """

    def __init__(
        self,
        lm: LMConfig,
        *,
        run: Controlled,
        metric: CodeReference | None = None,
        chunk_rows: int | None = None,
        activity_queue: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        finished: Finished | None = None,
        parts: Parts | None = None,
    ) -> None:
        self._lm = lm
        self._metric = metric
        self._chunk_rows = chunk_rows
        self._activity_queue = activity_queue
        self._on_event = on_event
        self._finished = finished
        self._parts = parts or Parts(run)
        self._run = run
        self._evaluations = Evaluations(run)
        self._evaluations_begun = 0
        self._tally = RowTally(self.emit)
        self._slots = asyncio.Semaphore(MOST_OUTSTANDING)

    @property
    def evaluation_ids(self) -> tuple[str, ...]:
        """Workflow ids of the evaluations under way."""
        return self._evaluations.ids

    async def generate(self, request: LMRequest) -> LMResponse:
        """One call to a model: an activity."""
        return await self._asked(Generate(request=request, lm=self._lm, compiling=is_compiling()))

    async def _asked(self, call: Generate) -> LMResponse:
        summary = (call.request.lm or call.lm).model
        try:
            response = await self._perform(GENERATE, call, LMResponse, summary=summary)
        except ActivityError as error:
            # The failures of a call that a module cures by itself: it asks for less, or in another way.
            for cured in (LMContextLengthError, LMRequestError):
                if isinstance(error.cause, ApplicationError) and error.cause.type == cured.__name__:
                    raise cured(error.cause.message) from error
            raise
        add_usage(response.usage)
        return response

    async def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """One call to a model, whose answer comes in one piece."""
        response = await self.generate(request)
        yield response.text
        yield response

    async def call_tool(self, call: ToolCall) -> ToolResult:
        """One call of a tool: an activity, whose worker imports the tool."""
        request = CallTool(tool=call.tool.to_spec(), args=call.args, lm=self._lm, approved=call.approved)
        result = await self._perform(CALL_TOOL, request, ToolResult, summary=call.tool.name)
        add_usage(result.usage)
        return result

    async def run_code(self, cell: CodeCell) -> CodeResult:
        """One cell: an activity. A session is the digest of an artifact, so that any worker can go on with it."""
        request = RunCode(
            code=cell.code,
            tools=tuple(tool.to_spec() for tool in cell.tools),
            session=None if cell.session is None else cell.session.decode(),
            lm=self._lm,
            approved=cell.approved,
        )
        summary = f"code: {' '.join(cell.code.split())[:60]}"
        answer = await self._perform(RUN_CODE, request, CodeAnswer, summary=summary)
        add_usage(answer.usage)
        session = None if answer.session is None else answer.session.encode()
        return CodeResult(text=answer.text, failed=answer.failed, session=session, usage=answer.usage)

    async def retrieve(self, request: RetrieveRequest) -> list[Passage]:
        """One search: an activity, whose worker imports the retriever."""
        if not isinstance(request.retriever, CodeReference):
            raise ConfigurationError(
                "a durable run searches with a retriever that its workers can import: "
                "write Retrieve(retriever='package.module:attribute')"
            )
        search = Search(query=request.query, k=request.k, retriever=request.retriever, lm=self._lm)
        answer = await self._perform(RETRIEVE, search, SearchAnswer, summary=f"search: {request.query[:60]}")
        add_usage(answer.usage)
        return list(answer.passages)

    async def run_program(self, request: RunProgram) -> ProgramAnswer:
        """A whole program run: an activity."""
        return await self._perform(RUN_PROGRAM, request, ProgramAnswer)

    async def run_part(self, part: Program, inputs: dict[str, Any], *, tries: int) -> Prediction:
        """A supervised part: a child workflow, which Temporal restarts."""
        answer = await self._run_part(self._parts.request(part, inputs, lm=self._lm), tries=tries)
        self._run.ledger.settle(None, answer.usage)
        add_usage(answer.usage)
        return Prediction(answer.outputs)

    async def _run_part(self, request: ProgramRunInput, *, tries: int) -> ProgramAnswer:
        async with self._slots:
            await self._run.gate.opened()
            return await self._parts.run(request, tries=tries)

    async def rows(self, dataset: Dataset, indices: Sequence[int]) -> list[Example]:
        """Rows of a stored data set: an activity."""
        if not indices:
            return []
        request = ReadRows(dataset=stored(dataset), indices=tuple(indices))
        rows = await self._perform(READ_ROWS, request, Rows, summary=f"{len(indices)} rows")
        return rows.examples()

    async def evaluate(
        self,
        program: Program,
        dataset: Dataset,
        *,
        metric: MetricLike,
        rows: Sequence[int] | None = None,
        lm: LMConfig | None = None,
    ) -> Evaluation:
        """A child workflow, whose activities take a chunk of rows each; if it winds up, another for what is left."""
        self._evaluations_begun += 1
        number = self._evaluations_begun
        request = EvaluationInput(
            program=outline_of(program),
            metric=self._reference(metric),
            lm=lm or self._lm,
            dataset=stored(dataset),
            chunk_rows=self._chunk_rows,
            activity_queue=self._activity_queue,
            rows=None if rows is None else tuple(rows),
            compiling=is_compiling(),
        )
        if self._finished is not None:
            request = self._finished.marked(EVALUATION, request)
        gathered, asked, untold = Gathered(range(len(dataset)) if rows is None else rows), 0, tuple[str, ...]()
        with self._tally.evaluation():
            while missing := gathered.missing:
                asked += 1
                if asked > 1:
                    request = request.model_copy(update={"rows": tuple(missing), "untold": untold})
                resumes = self._run.gate.resumes
                again = f".{asked}" if asked > 1 else ""
                async with self._slots:
                    await self._run.gate.opened()
                    output = await self._evaluations.run(
                        request,
                        evaluation_id(workflow.info().workflow_id, number) + again,
                        summary=f"candidate {number - 1} on {len(missing)} rows",
                    )
                gathered.add(missing, output)
                untold = output.untold
                if output.held is not None:
                    self._run.hold_up(output.held, resumes=resumes)
                self._tally.add(rows=len(output.scores), total=sum(output.scores), usage=output.usage)
        return gathered.evaluation()

    async def trace(self, program: Program, dataset: Dataset, request: TraceRequest) -> TraceResult:
        """Some rows run and recorded: an activity."""
        rows = TraceRows(
            program=outline_of(program),
            metric=None if request.metric is None else self._reference(request.metric),
            lm=request.lm or self._lm,
            dataset=stored(dataset),
            rows=request.rows,
            wanted=request.wanted,
            threshold=request.threshold,
            rounds=request.rounds,
            rollout=request.rollout,
            keep=request.keep,
            compiling=is_compiling(),
        )
        return await self._perform(TRACE_ROWS, rows, TraceResult, summary=rows_named(request.rows))

    async def suggest(
        self, space: Mapping[str, int], history: Sequence[Trial], *, count: int, seed: int
    ) -> list[dict[str, int]]:
        """What to try next: an activity, because it is heavy, and another version of its library says otherwise."""
        request = Suggest(space=dict(space), history=tuple(history), count=count, seed=seed)
        found = await self._perform(SUGGEST, request, Suggestions, summary=f"{count} after {len(history)} trials")
        return list(found.combinations)

    async def check_code(self, code: CodeReference) -> None:
        """Whether a worker has an optimizer of a user's own, and trusts it: an activity."""
        await self._perform(CHECK_CODE, CheckCode(code=code, what="optimizer"), NoneType, summary=code.path)

    async def start_fine_tuning(self, program: Program, request: FineTuningRequest) -> FineTuningJob:
        """The job submitted, or found, or done by a trainer: an activity."""
        start = StartFineTuning(program=outline_of(program), request=request, lm=request.lm or self._lm)
        summary = f"{len(request.steps)} examples for {start.lm.model}"
        options = activity_options() if request.trainer is None else training_options()
        return await self._perform(START_FINE_TUNING, start, FineTuningJob, summary=summary, options=options)

    async def follow_fine_tuning(self, job: FineTuningJob) -> FineTuningJob:
        """Where a job stands: an activity."""
        return await self._perform(FOLLOW_FINE_TUNING, job, FineTuningJob, summary=job.job_id)

    async def cancel_fine_tuning(self, job: FineTuningJob) -> None:
        """The end of a job: an activity, whatever else may begin."""
        await self._perform(CANCEL_FINE_TUNING, job, NoneType, summary=job.job_id, gated=False)

    def emit(self, event: Event) -> None:
        """Tell the workflow."""
        if self._on_event is not None:
            self._on_event(event)

    def hears(self, kind: str) -> bool:
        """All of them: they are entered into the run's log, for whoever reads it."""
        del kind
        return self._on_event is not None

    async def _perform(
        self,
        name: str,
        request: BaseModel,
        answer: type[T],
        *,
        summary: str | None = None,
        options: ActivityOptions | None = None,
        gated: bool = True,
    ) -> T:
        spent = Usage()
        if self._finished is not None:
            request = self._finished.marked(name, request)
        while True:
            async with self._slots:
                if gated:
                    await self._run.gate.opened()
                resumes = self._run.gate.resumes
                share = await self._run.ledger.lend() if isinstance(request, _PAID) else None
                asked = with_changes(request, allowance=share) if share is not None else request
                told_before = cancellations()
                try:
                    found = await workflow.execute_activity(
                        name,
                        asked,
                        task_queue=self._activity_queue,
                        result_type=answer,
                        summary=summary,
                        **options or activity_options(),
                    )
                except ActivityError as error:
                    held = held_in(error) if gated else None
                    self._run.ledger.settle(share, Usage() if held is None else held.spent)
                    # What decides knows no Temporal: to it, a cancellation is asyncio's.
                    if is_cancelled_exception(error) or cancellations() > told_before:
                        raise asyncio.CancelledError from error
                    if held is None:
                        raise
                else:
                    taken = usage_in(found)
                    self._run.ledger.settle(share, taken)
                    heed_cancellation(since=told_before)
                    return with_changes(found, usage=taken + spent) if spent.lm_calls else found
            # The same once more, when it may go on; what is known by now comes from the cache.
            spent += held.spent
            self._run.hold_up(held, resumes=resumes)

    def _reference(self, metric: MetricLike) -> CodeReference:
        if self._metric is None or metric != self._metric.path:
            raise ConfigurationError(f"a durable run scores with the metric it was started with, not with {metric!r}")
        return self._metric


_PAID = (Generate, TraceRows, CallTool, RunCode, RunProgram)
"""Requests that have an allowance, because calls are paid for in the activity."""
