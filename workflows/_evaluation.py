import asyncio
from collections import deque

from temporalio import workflow
from temporalio.common import RawValue

from dspex_core.requests import EVALUATE_CHUNK, ChunkEvaluation, EvaluateChunk
from dspex_core.seam import percent

from ._chunks import plan_chunks
from ._control import Controlled
from ._gathered import Gathered
from ._options import ACTIVITIES_A_LEG, MOST_OUTSTANDING, activity_options
from ._values import EvaluationInput, EvaluationOutput, EvaluationStatus

EVALUATION = "Evaluation"


def evaluation_id(run_id: str, number: int) -> str:
    """Workflow id of a run's evaluation; they are numbered from one on."""
    return f"{run_id}/evaluation-{number}"


@workflow.defn(name=EVALUATION)
class Evaluation(Controlled):
    """Scores one program on a data set, or on some of its rows, in chunks of rows.

    One that is part of a compile ends when it is told to wind up, with the rows it has: what is left is asked for anew
    once the compile goes on. One that is a run of its own waits.
    """

    @workflow.init
    def __init__(self, input: EvaluationInput) -> None:  # noqa: A002 - Temporal's word for it
        super().__init__(searchable=input.searchable)
        self._input = input
        # Written down once: for each of many chunks, large demos would hold the workflow's thread too long.
        self._program = RawValue(workflow.payload_converter().to_payload(input.program))
        self._indices = range(input.dataset.size) if input.rows is None else input.rows
        self._gathered = Gathered(self._indices)
        self._first = 0
        if input.done is not None:
            self._first = len(input.done.scores)
            self._gathered.add(self._indices[: self._first], input.done)
        self._is_part = workflow.info().parent is not None

    @workflow.run
    async def run(self, input: EvaluationInput) -> EvaluationOutput:  # noqa: A002
        """Score all rows, or those done when it was told to wind up.

        Returns:
            Scores in the order of the rows, whatever the order in which chunks were done.
        """
        chunks = plan_chunks(len(self._indices), start=self._first, chunk_rows=input.chunk_rows)
        leg = deque(chunks[:ACTIVITIES_A_LEG])
        while leg and (self.gate.is_open or not self._is_part):
            await self.gate.opened()
            await asyncio.gather(*(self._work(leg) for _ in range(min(MOST_OUTSTANDING, len(leg)))))
        output = self._gathered.output()
        if output.indices is not None and (self.gate.is_open or not self._is_part):
            await self.gate.opened()
            done = output.model_copy(update={"indices": None})
            workflow.continue_as_new(input.model_copy(update={"done": done}))
        return output

    @workflow.signal
    def wind_up(self) -> None:
        """Begin nothing new; what is under way is finished."""
        self.gate.pause()

    @workflow.query
    def status(self) -> EvaluationStatus:
        """Rows done so far."""
        scores = list(self._gathered.scores.values())
        return EvaluationStatus(
            rows_done=len(scores),
            rows_total=len(self._indices),
            score=percent(scores) if scores else None,
            usage=self._gathered.usage,
        )

    def details(self) -> str:
        """Rows done."""
        return f"{len(self._gathered.scores)} of {len(self._indices)} rows"

    async def _work(self, chunks: deque[range]) -> None:
        # Demand, not push: a chunk is asked for when another is done.
        while chunks and self.gate.is_open:
            chunk = chunks.popleft()
            done = await self._evaluate(chunk)
            self._gathered.add(self._indices[chunk.start : chunk.stop], _output_of(done))
            self.show()

    async def _evaluate(self, chunk: range) -> ChunkEvaluation:
        request = EvaluateChunk(
            metric=self._input.metric,
            lm=self._input.lm,
            dataset=self._input.dataset,
            start=chunk.start,
            stop=chunk.stop,
            rows=None if self._input.rows is None else self._input.rows[chunk.start : chunk.stop],
            compiling=self._input.compiling,
        )
        return await workflow.execute_activity(
            EVALUATE_CHUNK,
            args=[request, self._program],
            task_queue=self._input.activity_queue,
            result_type=ChunkEvaluation,
            summary=f"rows {chunk.start} to {chunk.stop - 1}",
            **activity_options(),
        )


def _output_of(chunk: ChunkEvaluation) -> EvaluationOutput:
    return EvaluationOutput(
        scores=chunk.scores,
        failed_rows=chunk.failed_rows,
        failures=chunk.failures,
        usage=chunk.usage,
        rows=(chunk.rows,),
    )
