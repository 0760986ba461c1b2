import asyncio
from collections import deque

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, is_cancelled_exception

from dspex_core.budget import Limits
from dspex_core.requests import (
    EVALUATE_CHUNK,
    FIND_ROWS,
    ChunkEvaluation,
    EvaluateChunk,
    FindRows,
    FoundRows,
    Held,
    Kept,
)
from dspex_core.seam import percent
from dspex_core.usage import Usage

from ._chunks import plan_chunks
from ._control import Controlled, cancellations, heed_cancellation, held_in
from ._gathered import Gathered
from ._options import MOST_OUTSTANDING, activity_options
from ._values import EvaluationInput, EvaluationOutput, EvaluationStatus

EVALUATION = "Evaluation"

Rows = range | tuple[int, ...]
"""Places of rows in the order of the evaluation's rows."""


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
        super().__init__(searchable=input.searchable, limits=input.allowance, seconds=input.seconds)
        self._input = input
        # Written down once: for each of many chunks, large demos would hold the workflow's thread too long.
        self._program = RawValue(workflow.payload_converter().to_payload(input.program))
        self._indices = range(input.dataset.size) if input.rows is None else input.rows
        self._gathered = Gathered(self._indices)
        if input.done is not None:
            self._gathered.add(self._indices[: len(input.done.scores)], input.done)
            self.ledger.settle(None, input.done.usage, rows=len(input.done.scores))
        parent = workflow.info().parent
        self._is_part = parent is not None
        self._run_id = parent.workflow_id if parent is not None and input.compiling else None
        self._held: Held | None = None
        self._begun = 0
        self._untold: list[tuple[str, Rows]] = []
        self._under_way: dict[Rows, workflow.ActivityHandle[ChunkEvaluation]] = {}
        self.gate.on_closing(self._stop)

    @workflow.run
    async def run(self, input: EvaluationInput) -> EvaluationOutput:  # noqa: A002
        """Score all rows, or those done when it was told to wind up.

        Returns:
            Scores in the order of the rows, whatever the order in which chunks were done.
        """
        if input.kept is not None and input.kept.look and input.done is None:
            await self._find(input.kept)
        chunks = plan_chunks(len(self._indices), chunk_rows=input.chunk_rows)
        leg = deque[Rows]([left for chunk in chunks if (left := self._left(chunk))][: input.chunks_a_leg])
        while leg and (self.gate.is_open or not self._is_part):
            await self.gate.opened()
            await asyncio.gather(*(self._work(leg) for _ in range(min(MOST_OUTSTANDING, len(leg)))))
        untold = (*input.untold, *(payer for payer, _ in self._untold))
        output = self._gathered.output().model_copy(update={"held": self._held, "untold": untold})
        if output.indices is not None and (self.gate.is_open or not self._is_part):
            await self.gate.opened()
            legs = {"done": output, "untold": untold, "allowance": self.ledger.limits, "seconds": self.gate.seconds}
            workflow.continue_as_new(input.model_copy(update=legs))
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

    def hold_up(self, held: Held, *, resumes: int) -> None:
        """A part of a compile tells it and winds up; an evaluation of its own is parked."""
        if not self._is_part:
            super().hold_up(held, resumes=resumes)
        elif not held.is_budget or self.ledger.is_used_up:
            self._held = self._held or held
            self.gate.pause()

    def _stop(self) -> None:
        # What is done of a chunk comes back all the same; see `activities`.
        for handle in self._under_way.values():
            handle.cancel()

    async def _work(self, chunks: deque[Rows]) -> None:
        # Demand, not push: a chunk is asked for when another is done.
        while chunks and self.gate.is_open:
            positions, resumes = chunks.popleft(), self.gate.resumes
            share = await self.ledger.lend(len(positions))
            done = await self._evaluated(positions, share)
            rows = tuple(self._indices[position] for position in positions)
            self.ledger.settle(share, done.usage, rows=len(done.scores))
            # One that was held up may have no rows to show, and calls that were paid for.
            if done.rows or done.usage.lm_calls:
                self._gathered.add(rows, _output_of(done))
            if left := self._left(positions):
                chunks.append(left)
            if done.held is not None:
                self.hold_up(done.held, resumes=resumes)
            self.show()

    def _left(self, positions: Rows) -> Rows:
        """Those whose rows have no result yet."""
        scores = self._gathered.scores
        left = tuple(position for position in positions if self._indices[position] not in scores)
        return positions if len(left) == len(positions) else left

    async def _find(self, kept: Kept) -> None:
        """Take in what an earlier run finished; where that cannot be read, the evaluation is held up."""
        resumes, told_before = self.gate.resumes, cancellations()
        try:
            found = await workflow.execute_activity(
                FIND_ROWS,
                FindRows(kept=kept),
                task_queue=self._input.activity_queue,
                result_type=FoundRows,
                summary="rows of an earlier run",
                **activity_options(),
            )
        except ActivityError as error:
            held = held_in(error)
            if held is None:
                raise
            self.hold_up(held, resumes=resumes)
            return
        heed_cancellation(since=told_before)
        wanted = set(self._indices)
        for chunk in found.chunks:
            if chunk.indices and wanted.issuperset(chunk.indices):
                self._gathered.add(chunk.indices, _output_of(chunk))

    async def _evaluated(self, positions: Rows, share: Limits | None) -> ChunkEvaluation:
        """What became of a chunk; none of its rows, if it is held up or was told to end before it began."""
        self._begun += 1
        payer = f"{workflow.info().workflow_id}/{workflow.info().run_id}/chunk-{self._begun}"
        handle = self._under_way[positions] = self._start(positions, share, payer)
        try:
            return await handle
        except ActivityError as error:
            held = held_in(error)
            if held is None and not (is_cancelled_exception(error) and not self.gate.is_open):
                raise
            if held is None:
                # Cancelled between two tries, it says nothing of what the first has paid.
                self._untold.append((payer, positions))
            spent = Usage() if held is None else held.spent
            return ChunkEvaluation(scores=(), failures=(), usage=spent, rows="", indices=(), held=held)
        finally:
            del self._under_way[positions]
            heed_cancellation()

    def _start(self, positions: Rows, share: Limits | None, payer: str) -> "workflow.ActivityHandle[ChunkEvaluation]":
        whole = isinstance(positions, range)
        untold = (name for name, theirs in self._untold if not set(theirs).isdisjoint(positions))
        rows = None if whole and self._input.rows is None else tuple(self._indices[position] for position in positions)
        request = EvaluateChunk(
            metric=self._input.metric,
            lm=self._input.lm,
            dataset=self._input.dataset,
            start=positions[0],
            stop=positions[-1] + 1,
            rows=rows,
            compiling=self._input.compiling,
            allowance=share,
            run_id=self._run_id,
            kept=self._input.kept,
            payer=payer,
            heir_of=(*self._input.untold, *untold),
        )
        return workflow.start_activity(
            EVALUATE_CHUNK,
            args=[request, self._program],
            task_queue=self._input.activity_queue,
            result_type=ChunkEvaluation,
            summary=f"rows {positions[0]} to {positions[-1]}",
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            **activity_options(),
        )


def _output_of(chunk: ChunkEvaluation) -> EvaluationOutput:
    return EvaluationOutput(
        scores=chunk.scores,
        failed_rows=chunk.failed_rows,
        failures=chunk.failures,
        usage=chunk.usage,
        rows=(chunk.rows,) if chunk.rows else (),
        indices=chunk.indices,
    )
