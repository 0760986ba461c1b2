from contextlib import suppress
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError

from dspex_core.errors import RunConflictError

from ._evaluation import EVALUATION, Evaluation
from ._values import EvaluationInput, EvaluationOutput

TRIES = 120
"""One a second."""

WIND_UP_SECONDS = 10.0
"""How long a search that ends early waits for rows under way, which are paid for; a worker hears of it after five."""


async def started_evaluation(
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


async def wound_up(child: "workflow.ChildWorkflowHandle[Any, EvaluationOutput] | None") -> EvaluationOutput:
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
