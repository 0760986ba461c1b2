from typing import Any, cast

from pydantic import BaseModel
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowHandle
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from dspex._rooms import workflows
from dspex.client._patience import rpc_error
from dspex.client._status import UNDER_WAY, searchable_status
from dspex_core.errors import RunConflictError

COMPILE_TYPES = tuple(sorted(found.__name__ for found in workflows.COMPILE_WORKFLOWS.values()))
_NOT_COMPARED = {"searchable", "resumed"}
"""Fields of a request that change nothing about what a run does."""


class Starting:
    """Starts workflows under ids that may be in use.

    Args:
        temporal: The client to start with.
        task_queue: Where they wait for workers.

    Attributes:
        attached: Whether the last one was under way already, and was left alone.
        resumed: Whether it goes on from an earlier run of its id.
    """

    def __init__(self, temporal: Client, task_queue: str) -> None:
        self._temporal = temporal
        self._task_queue = task_queue
        self.attached = False
        self.resumed = False

    async def start(
        self,
        kind: str,
        request: BaseModel,
        run_id: str,
        *,
        summary: str,
        resume: bool = False,
        priority: Priority = Priority.default,
    ) -> None:
        """Start a workflow, or attach to the one of that id that was asked for the same.

        Args:
            kind: Its type.
            request: What it is started with.
            run_id: Its id.
            summary: What it is, in a line for the Web UI.
            resume: Whether it may follow one of the same id that has ended.
            priority: Whose turn it is.

        Raises:
            RunConflictError: If one of that id has ended, is another kind of run, or was asked for something else.
            ServerUnavailableError: If the server does not answer.
        """
        reuse = WorkflowIDReusePolicy.ALLOW_DUPLICATE if resume else WorkflowIDReusePolicy.REJECT_DUPLICATE
        try:
            self.resumed = resume and await self._is_known(run_id)
            await self._temporal.start_workflow(
                kind,
                request,
                id=run_id,
                task_queue=self._task_queue,
                id_reuse_policy=reuse,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                static_summary=summary,
                priority=priority,
            )
        except WorkflowAlreadyStartedError:
            await self._attach(kind, request, run_id)
        except RPCError as error:
            raise rpc_error(error, run_id) from None

    async def _is_known(self, run_id: str) -> bool:
        try:
            await self._temporal.get_workflow_handle(run_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def _attach(self, kind: str, request: BaseModel, run_id: str) -> None:
        there = await self._temporal.get_workflow_handle(run_id).describe()
        if there.workflow_type != kind:
            raise RunConflictError(f"the id {run_id!r} is taken by a {there.workflow_type}: choose another") from None
        status = searchable_status(there)
        if status not in UNDER_WAY:
            hint = ""
            if kind in COMPILE_TYPES:
                hint = ", or resume it (--resume, or resume=True) to go on from everything it finished"
            raise RunConflictError(f"a run {run_id!r} has ended already ({status}): choose another id{hint}") from None
        if differing := await self._differing(there, request):
            raise RunConflictError(
                f"a run {run_id!r} is under way, and was asked for something else; these differ: "
                f"{', '.join(differing)}: choose another id, or watch that one with `dspex runs watch {run_id}`"
            ) from None
        self.attached, self.resumed = True, False

    async def _differing(self, there: WorkflowExecutionDescription, request: BaseModel) -> list[str]:
        """Names of what a run under way was started with otherwise."""
        info = there.raw_description.workflow_execution_info
        first_leg = info.first_run_id or info.execution.run_id
        handle = self._temporal.get_workflow_handle(there.id, run_id=first_leg)
        asked = await started_with(self._temporal, handle, type(request))
        if asked is None:
            return []
        return differing_fields(asked, request)


async def started_with(temporal: Client, handle: WorkflowHandle[Any, Any], kind: type[BaseModel]) -> Any:
    """What a workflow was started with, read from its history; None if that does not say.

    Args:
        temporal: The client to read with.
        handle: The workflow.
        kind: Type of what it was started with.

    Raises:
        RPCError: As the server says.
    """
    page = handle.fetch_history_events(page_size=1)
    await page.fetch_next_page()
    for event in page.current_page or ():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            payloads = event.workflow_execution_started_event_attributes.input.payloads
            found: list[Any] = await temporal.data_converter.decode(payloads, [kind])
            return found[0]
    return None


def differing_fields(asked: BaseModel, request: BaseModel) -> list[str]:
    """What differs between two requests of one kind: names of fields, and of what differs within them."""
    before, now = (each.model_dump(mode="json", exclude=_NOT_COMPARED) for each in (asked, request))
    return [_named(name, before[name], now[name]) for name in now if before[name] != now[name]]


def _named(name: str, before: Any, now: Any) -> str:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return name
    one, other = cast("dict[str, Any]", before), cast("dict[str, Any]", now)
    within = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return f"{name} ({', '.join(within)})"
