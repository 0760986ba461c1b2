from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, cast

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from dspex_core.errors import ConfigurationError, DatasetError, LMContextLengthError, LMRequestError
from dspex_core.events import Event
from dspex_core.record import Example
from dspex_core.references import CodeReference
from dspex_core.requests import (
    CALL_TOOL,
    GENERATE,
    READ_ROWS,
    RETRIEVE,
    TRACE_ROWS,
    CallTool,
    Generate,
    ProgramOutline,
    ReadRows,
    Rows,
    Search,
    SearchAnswer,
    TraceRows,
)
from dspex_core.seam import (
    Dataset,
    Evaluation,
    LMConfig,
    LMRequest,
    LMResponse,
    MetricLike,
    Passage,
    Program,
    RetrieveRequest,
    StoredDataset,
    ToolCall,
    ToolResult,
    TraceRequest,
    TraceResult,
    add_usage,
)

from ._evaluation import EVALUATION
from ._options import activity_options
from ._values import EvaluationInput, EvaluationOutput


class WorkflowRuntime:
    """The runtime inside a workflow: everything is an activity or a child workflow, and so survives any process.

    Args:
        lm: The model in force.
        metric: The run's metric; what `evaluate` and `trace` are given names this very one.
        chunk_rows: Rows an evaluation activity takes; None leaves it to the planner.
        on_event: Told of every event, in the workflow.
    """

    def __init__(
        self,
        lm: LMConfig,
        *,
        metric: CodeReference | None = None,
        chunk_rows: int | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._lm = lm
        self._metric = metric
        self._chunk_rows = chunk_rows
        self._on_event = on_event
        self._evaluations = 0
        self.evaluation_id: str | None = None
        """Workflow id of the evaluation under way, or None."""

    async def generate(self, request: LMRequest) -> LMResponse:
        """One call to a model: an activity."""
        try:
            response = await workflow.execute_activity(
                GENERATE,
                Generate(request=request, lm=self._lm),
                result_type=LMResponse,
                summary=(request.lm or self._lm).model,
                **activity_options(),
            )
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
        result = await workflow.execute_activity(
            CALL_TOOL,
            CallTool(tool=call.tool.to_spec(), args=call.args, lm=self._lm),
            result_type=ToolResult,
            summary=call.tool.name,
            **activity_options(),
        )
        add_usage(result.usage)
        return result

    async def retrieve(self, request: RetrieveRequest) -> list[Passage]:
        """One search: an activity, whose worker imports the retriever."""
        if not isinstance(request.retriever, CodeReference):
            raise ConfigurationError(
                "a durable run searches with a retriever that its workers can import: "
                "write Retrieve(retriever='package.module:attribute')"
            )
        answer = await workflow.execute_activity(
            RETRIEVE,
            Search(query=request.query, k=request.k, retriever=request.retriever),
            result_type=SearchAnswer,
            summary=f"search: {request.query[:60]}",
            **activity_options(),
        )
        add_usage(answer.usage)
        return list(answer.passages)

    async def rows(self, dataset: Dataset, indices: Sequence[int]) -> list[Example]:
        """Rows of a stored data set: an activity."""
        if not indices:
            return []
        rows = await workflow.execute_activity(
            READ_ROWS,
            ReadRows(dataset=_stored(dataset), indices=tuple(indices)),
            result_type=Rows,
            summary=f"{len(indices)} rows",
            **activity_options(),
        )
        return rows.examples()

    async def evaluate(self, program: Program, dataset: Dataset, *, metric: MetricLike) -> Evaluation:
        """A child workflow, whose activities take a chunk of rows each."""
        self._evaluations += 1
        self.evaluation_id = f"{workflow.info().workflow_id}/evaluation-{self._evaluations}"
        try:
            output = await workflow.execute_child_workflow(
                EVALUATION,
                EvaluationInput(
                    program=_outline(program),
                    metric=self._reference(metric),
                    lm=self._lm,
                    dataset=_stored(dataset),
                    chunk_rows=self._chunk_rows,
                ),
                id=self.evaluation_id,
                result_type=EvaluationOutput,
                static_summary=f"candidate {self._evaluations - 1} on {len(dataset)} rows",
            )
        finally:
            self.evaluation_id = None
        return Evaluation(scores=output.scores, failed=output.failed, failures=output.failures, usage=output.usage)

    async def trace(self, program: Program, dataset: Dataset, request: TraceRequest) -> TraceResult:
        """Some rows run and recorded: an activity."""
        return await workflow.execute_activity(
            TRACE_ROWS,
            TraceRows(
                program=_outline(program),
                metric=None if request.metric is None else self._reference(request.metric),
                lm=request.lm or self._lm,
                dataset=_stored(dataset),
                rows=request.rows,
                wanted=request.wanted,
                threshold=request.threshold,
                rounds=request.rounds,
            ),
            result_type=TraceResult,
            summary=f"rows {request.rows[0]} to {request.rows[-1]}",
            **activity_options(),
        )

    def emit(self, event: Event) -> None:
        """Tell the workflow."""
        if self._on_event is not None:
            self._on_event(event)

    def _reference(self, metric: MetricLike) -> CodeReference:
        if self._metric is None or metric != self._metric.path:
            raise ConfigurationError(f"a durable run scores with the metric it was started with, not with {metric!r}")
        return self._metric


def _stored(dataset: Dataset) -> StoredDataset:
    if isinstance(dataset, StoredDataset):
        return dataset
    raise DatasetError("a durable run reads stored data sets; pass the rows to client.compile, which stores them")


def _outline(program: Program) -> ProgramOutline:
    return cast("ProgramOutline", cast("Any", program))
