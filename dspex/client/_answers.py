from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from temporalio.service import RPCError

from dspex._rooms import workflows
from dspex.client._connection import Connection
from dspex.client._log import RunLog
from dspex.client._patience import patiently, rpc_error
from dspex.client._status import RunStatus
from dspex.client._waiting import result_unless_parked
from dspex.client._words import say_to
from dspex_core.errors import RunConflictError
from dspex_core.events import TextStreamed
from dspex_core.modules import StreamedPiece
from dspex_core.record import Prediction
from dspex_core.requests import ProgramAnswer
from dspex_core.seam import Evaluation

if TYPE_CHECKING:
    from temporalio.client import WorkflowHandle


class Answers(ABC):
    """What a run that is no compile has: its answer, and a person's decisions on its calls of tools.

    Args:
        connection: How to reach the server.
        run_id: The run.
    """

    def __init__(self, connection: Connection, run_id: str) -> None:
        self.id = run_id
        self._connection = connection
        self._handle: WorkflowHandle[Any, Any] = connection.temporal.get_workflow_handle(run_id)

    @abstractmethod
    async def status(self) -> RunStatus:
        """Where the run stands."""

    async def approve(self, call_id: str, *, reason: str = "") -> None:
        """Let a call of a tool that waits for a person be made. Said twice, this changes nothing.

        Args:
            call_id: The call, as `status()` names it in `approvals`.
            reason: Why, for the run's events.

        Raises:
            RunConflictError: If no such call waits, it was rejected already, or the run has ended.
            RunError: If no worker is there to take the word.
        """
        await self._require_program_run()
        await say_to(self, self._handle, "approve", workflows.Verdict(call_id=call_id, reason=reason))

    async def reject(self, call_id: str, *, reason: str = "") -> None:
        """Let a call not be made: the model reads so, with the reason, and the run goes on.

        Said twice, this changes nothing. Raises as `approve` does.
        """
        await self._require_program_run()
        await say_to(self, self._handle, "reject", workflows.Verdict(call_id=call_id, reason=reason))

    async def _require_program_run(self) -> None:
        if (there := await self.kind()) != workflows.PROGRAM_RUN:
            raise RunConflictError(f"run {self.id} is a {there}, in which no call of a tool waits for a person")

    async def prediction(self) -> Prediction:
        """Wait for the answer of a run of a program; also while calls of tools wait for a person.

        Raises:
            RunFailedError: If it failed, or is parked for another reason; then it is kept, and can be resumed.
            RunConflictError: If it is no run of a program.
        """
        answer = await self._answer(workflows.PROGRAM_RUN, ProgramAnswer)
        return Prediction(answer.outputs, usage=answer.usage)

    async def stream(self) -> AsyncGenerator[StreamedPiece | Prediction]:
        """Read the outputs of a run of a program while they are written, from their beginning, also later or again.

            run = await client.start_program(program, inputs={"question": "…"}, lm=lm, stream=True)
            async for piece in run.stream():
                if isinstance(piece, StreamedPiece):
                    print(piece.text, end="")

        Pieces come a few times a second, through the run's history. A run that was not started to be streamed gives
        its answer alone; so do supervised parts, and so does a class of your own whose worker died.

        Yields:
            Pieces of every predictor's output fields, and at last the Prediction.

        Raises as `prediction` does, but waits for a run that is parked before its end.
        """
        log = RunLog(self._connection.temporal, self.id)
        async with aclosing(log.events(follow=True)) as events:
            async for event in events:
                if isinstance(event, TextStreamed):
                    yield StreamedPiece(event.predictor, event.field, event.text, event.attempt)
        yield await self.prediction()

    async def evaluation(self) -> Evaluation:
        """Wait for the answer of an evaluation that `Client.evaluate` started. Raises as `prediction` does."""
        output = await self._answer(workflows.EVALUATION, workflows.EvaluationOutput)
        return Evaluation(
            scores=output.scores, failed_rows=output.failed_rows, failures=output.failures, usage=output.usage
        )

    async def kind(self) -> str:
        """What kind of run it is: the type of its workflow, such as "MIPROv2", "Evaluation" or "ProgramRun".

        Raises:
            RunNotFoundError: If there is no run of this id.
        """
        try:
            return (await patiently(self._handle.describe)).workflow_type
        except RPCError as error:
            raise rpc_error(error, self.id) from None

    async def _answer(self, kind: str, result: type[Any]) -> Any:
        temporal = self._connection.temporal
        if (there := await self.kind()) != kind:
            raise RunConflictError(f"run {self.id} is a {there}, which has no such answer")
        handle = temporal.get_workflow_handle(self.id, result_type=result)
        return await result_unless_parked(handle, self.status, self.id)
