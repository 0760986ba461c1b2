from contextlib import suppress
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowHandle, WorkflowHistoryEventFilterType
from temporalio.exceptions import ApplicationError, CancelledError, FailureError, TerminatedError
from temporalio.service import RPCError

EVENTS_LOOKED_AT = 10
CHILDREN_ASKED = 8
_ENCRYPTED = "Encoded failure"
"""What the SDK leaves of a failure's text when it encrypts it."""


async def trouble_of(temporal: Client, description: WorkflowExecutionDescription) -> str | None:
    """What an activity of a workflow, or a worker that took it up, failed of last, while it is tried again."""
    for pending in description.raw_description.pending_activities:
        if pending.attempt > 1 and pending.HasField("last_failure"):
            error = await description.data_converter.decode_failure(pending.last_failure)
            return f"trying again (attempt {pending.attempt}) after: {innermost_text(error)}"
    task = description.raw_description.pending_workflow_task
    if task.attempt > 1 and (said := await _failed_task(temporal, description)):
        return f"a worker cannot go on with it, and another is asked (attempt {task.attempt}): {said}"
    return None


async def trouble_below(temporal: Client, description: WorkflowExecutionDescription) -> str | None:
    """What the children of a workflow meet, where the workflow itself cannot be asked."""
    for child in description.raw_description.pending_children[:CHILDREN_ASKED]:
        with suppress(RPCError):  # it has just ended
            found = await temporal.get_workflow_handle(child.workflow_id).describe()
            if said := await trouble_of(temporal, found):
                return said
    return None


async def _failed_task(temporal: Client, description: WorkflowExecutionDescription) -> str | None:
    """What the last workflow task failed of, if that is among the last events."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=temporal.namespace,
        execution=WorkflowExecution(workflow_id=description.id, run_id=description.run_id),
        maximum_page_size=EVENTS_LOOKED_AT,
    )
    try:
        answer = await temporal.workflow_service.get_workflow_execution_history_reverse(request)
    except RPCError:
        return None
    for event in answer.history.events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failure = event.workflow_task_failed_event_attributes.failure
            return innermost_text(await description.data_converter.decode_failure(failure))
    return None


async def how_it_ended(handle: WorkflowHandle[Any, Any]) -> str:
    """How a run ended that was not let finish, as Temporal knows.

    Raises:
        RPCError: As the server says.
    """
    said = "cancelled at once"
    async for event in handle.fetch_history_events(event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT):
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
            ended = event.workflow_execution_terminated_event_attributes
            said = f"terminated{f' by {ended.identity}' if ended.identity else ''}: {ended.reason or 'no reason given'}"
    return f"{said}; calls of rows that were under way are not in its usage"


def innermost_text(failure: BaseException) -> str:
    """The text of the innermost cause of a failure of Temporal's."""
    while isinstance(failure.__cause__, FailureError):
        failure = failure.__cause__
    return readable(failure.message if isinstance(failure, FailureError) else str(failure))


def readable(text: str) -> str:
    """A failure's text; if it is encrypted, what to do about that."""
    if text == _ENCRYPTED:
        return "the reason is encrypted, with a key that DSPEX_ENCRYPTION_KEY does not have here"
    return text


def failure_of(error: BaseException) -> str:
    """What a workflow failed of: the innermost cause that says something."""
    kind, said = "failed", str(error)
    cause: BaseException | None = error.__cause__
    while cause is not None:
        if isinstance(cause, ApplicationError):
            said = readable(cause.message)
            if cause.type and not said.startswith(f"{cause.type}: "):
                said = f"{cause.type}: {said}"
        elif isinstance(cause, (CancelledError, TerminatedError)):
            kind, said = "was cancelled", ""
        cause = cause.__cause__
    return f"{kind}: {said}" if said else kind
