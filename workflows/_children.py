import asyncio
from contextlib import suppress
from typing import Any

from temporalio import workflow
from temporalio.exceptions import (
    ChildWorkflowError,
    FailureError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

from dspex_core.errors import RunConflictError

from ._control import Controlled, cancellations, heed_cancellation, in_background
from ._evaluation import EVALUATION, Evaluation
from ._values import EvaluationInput, EvaluationOutput

TRIES = 120
"""One a second."""

WIND_UP_SECONDS = 10.0
"""How long a search that ends early waits for rows under way, which are paid for; a worker hears of it after five."""


class Evaluations:
    """Evaluations under way as child workflows.

    Args:
        run: Whose children they are; they wind up when it may not go on.
    """

    def __init__(self, run: Controlled) -> None:
        self._run = run
        self._under_way: dict[str, workflow.ChildWorkflowHandle[Any, EvaluationOutput] | None] = {}
        self._telling: set[asyncio.Task[None]] = set()
        run.gate.on_closing(self._wind_up)

    @property
    def ids(self) -> tuple[str, ...]:
        """Their workflow ids."""
        return tuple(self._under_way)

    async def run(self, request: EvaluationInput, workflow_id: str, *, summary: str) -> EvaluationOutput:
        """One of them, with a share of what the run may take."""
        count = len(request.rows) if request.rows is not None else request.dataset.size
        share = await self._run.ledger.lend(count)
        output = EvaluationOutput()
        self._under_way[workflow_id] = None
        told_before = cancellations()
        try:
            child = self._under_way[workflow_id] = await _started(
                request.model_copy(update={"allowance": share}), workflow_id, summary=summary
            )
            heed_cancellation(since=told_before)
            if not self._run.gate.is_open:
                self._tell_to_wind_up(child)
            output = await asyncio.shield(child)
        except asyncio.CancelledError:
            output = await _wound_up(self._under_way[workflow_id])
            raise
        except ChildWorkflowError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise
        finally:
            del self._under_way[workflow_id]
            self._run.ledger.settle(share, output.usage, rows=len(output.scores))
        return output

    def _wind_up(self) -> None:
        for child in self._under_way.values():
            if child is not None:
                self._tell_to_wind_up(child)

    def _tell_to_wind_up(self, child: "workflow.ChildWorkflowHandle[Any, EvaluationOutput]") -> None:
        async def tell() -> None:
            # One that has just ended has nothing to wind up.
            with suppress(FailureError):
                await child.signal(Evaluation.wind_up)

        in_background(self._telling, asyncio.create_task(tell()))


async def _started(
    request: EvaluationInput, workflow_id: str, *, summary: str
) -> "workflow.ChildWorkflowHandle[Any, EvaluationOutput]":
    """An evaluation, begun as a child workflow.

    Raises:
        RunConflictError: If one of that id goes on and on.
    """
    # That of an ended run, from which this one goes on, may have the id until its rows under way are done.
    for _ in range(TRIES):
        with suppress(WorkflowAlreadyStartedError):
            return await workflow.start_child_workflow(
                EVALUATION,
                request,
                id=workflow_id,
                result_type=EvaluationOutput,
                static_summary=summary,
                cancellation_type=workflow.ChildWorkflowCancellationType.TRY_CANCEL,
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            )
        await workflow.sleep(1)
    raise RunConflictError(f"{workflow_id} of an earlier run does not end: terminate it, and resume the run again")


async def _wound_up(child: "workflow.ChildWorkflowHandle[Any, EvaluationOutput] | None") -> EvaluationOutput:
    """What an evaluation took whose rows nobody wants any more, as the search ends early; nothing if that takes long.

    A run that is cancelled hard waits for nothing: it ends at once, and its evaluations with it.
    """
    if child is None or workflow.cancellation_reason() is not None:
        return EvaluationOutput()
    with suppress(FailureError):
        await child.signal(Evaluation.wind_up)
        await workflow.wait([child], timeout=WIND_UP_SECONDS)
        if child.done():
            return child.result()
        child.cancel()
    return EvaluationOutput()
