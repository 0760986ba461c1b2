import asyncio

from temporalio import workflow
from temporalio.common import RawValue

from dspex_core.evaluate import FAILURES_KEPT
from dspex_core.requests import EVALUATE_CHUNK, ChunkEvaluation, EvaluateChunk
from dspex_core.seam import percent

from ._chunks import plan_chunks
from ._options import ACTIVITIES_A_LEG, MOST_OUTSTANDING, activity_options
from ._values import EvaluationInput, EvaluationOutput, EvaluationStatus

EVALUATION = "Evaluation"


def evaluation_id(run_id: str, number: int) -> str:
    """Workflow id of a run's evaluation; they are numbered from one on."""
    return f"{run_id}/evaluation-{number}"


@workflow.defn(name=EVALUATION)
class Evaluation:
    """Scores one program on a data set, or on some of its rows, in chunks of rows."""

    @workflow.init
    def __init__(self, input: EvaluationInput) -> None:  # noqa: A002 - Temporal's word for it
        self._input = input
        self._earlier = input.done or EvaluationOutput()
        # Written down once: for each of many chunks, large demos would hold the workflow's thread too long.
        self._program = RawValue(workflow.payload_converter().to_payload(input.program))
        self._chunks: dict[int, ChunkEvaluation] = {}
        self._size = input.dataset.size if input.rows is None else len(input.rows)
        self._rows_done = len(self._earlier.scores)

    @workflow.run
    async def run(self, input: EvaluationInput) -> EvaluationOutput:  # noqa: A002
        """Score all rows.

        Returns:
            Scores in the order of the rows, whatever the order in which chunks were done.
        """
        chunks = plan_chunks(self._size, start=len(self._earlier.scores), chunk_rows=input.chunk_rows)
        leg = chunks[:ACTIVITIES_A_LEG]
        waiting = iter(leg)

        async def work() -> None:
            # Demand, not push: a chunk is asked for when another is done.
            for chunk in waiting:
                done = self._chunks[chunk.start] = await self._evaluate(chunk)
                self._rows_done += len(done.scores)
                workflow.set_current_details(f"{self._rows_done} of {self._size} rows")

        await asyncio.gather(*(work() for _ in range(min(MOST_OUTSTANDING, len(leg)))))
        output = self._output()
        if len(output.scores) < self._size:
            workflow.continue_as_new(input.model_copy(update={"done": output}))
        return output

    @workflow.query
    def status(self) -> EvaluationStatus:
        """Rows done so far."""
        scores = [*self._earlier.scores, *(score for chunk in self._chunks.values() for score in chunk.scores)]
        return EvaluationStatus(
            rows_done=len(scores),
            rows_total=self._size,
            score=percent(scores) if scores else None,
            usage=sum((chunk.usage for chunk in self._chunks.values()), start=self._earlier.usage),
        )

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

    def _output(self) -> EvaluationOutput:
        done = [self._chunks[start] for start in sorted(self._chunks)]
        failures = (*self._earlier.failures, *(failure for chunk in done for failure in chunk.failures))
        return EvaluationOutput(
            scores=(*self._earlier.scores, *(score for chunk in done for score in chunk.scores)),
            failed_rows=(*self._earlier.failed_rows, *(row for chunk in done for row in chunk.failed_rows)),
            failures=failures[:FAILURES_KEPT],
            usage=sum((chunk.usage for chunk in done), start=self._earlier.usage),
            rows=(*self._earlier.rows, *(chunk.rows for chunk in done)),
        )
