import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle, WorkflowHistoryEventAsyncIterator
from temporalio.service import RPCError

from dspex._rooms import workflows
from dspex.client._legs import first_leg_of
from dspex.client._patience import patiently, rpc_error
from dspex_core.errors import RunError
from dspex_core.events import Event

WAITED_SECONDS = 0.1
"""A page that took longer was waited for: it has what has just happened."""
REST_SECONDS = 0.3
"""After such a page, so that what happens in a burst is read at once. Each page costs the server some milliseconds."""

_EVENTS: TypeAdapter[list[Event]] = TypeAdapter(list[Event])
_CONTINUED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
_ENDS = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    }
)


class RunLog:
    """The events that a run has entered into its history, read from the server alone.

    Args:
        temporal: The client to read with.
        run_id: The run.

    Attributes:
        ended: The event of Temporal's that ended the workflow, once that is read.
        entries: How many events were read.
    """

    def __init__(self, temporal: Client, run_id: str) -> None:
        self._temporal = temporal
        self._converter = temporal.data_converter
        self._run_id = run_id
        self.ended: HistoryEvent | None = None
        self.entries = 0

    async def events(self, *, follow: bool) -> AsyncGenerator[Event]:
        """All events from the first one on.

        Args:
            follow: Whether to wait for those to come, until the run ends.

        Raises:
            RunNotFoundError: If there is no run of this id.
            ServerUnavailableError: If the server stays away.
            RunError: If an event is of a kind that is not known here.
        """
        leg: str | None = await self._first_leg()
        while leg is not None and self.ended is None:
            reading = self._temporal.get_workflow_handle(self._run_id, run_id=leg).fetch_history_events(
                wait_new_event=follow
            )
            leg = None
            async for entry in self._entries(reading):
                if entry.event_type == _CONTINUED:
                    leg = entry.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
                for event in await self._read(entry):
                    self.entries += 1
                    yield event

    async def _first_leg(self) -> str:
        handle: WorkflowHandle[Any, Any] = self._temporal.get_workflow_handle(self._run_id)
        try:
            description = await patiently(handle.describe)
        except RPCError as error:
            raise rpc_error(error, self._run_id) from None
        return first_leg_of(description)

    async def _entries(self, reading: WorkflowHistoryEventAsyncIterator) -> AsyncGenerator[HistoryEvent]:
        while True:
            asked = time.monotonic()
            try:
                await patiently(reading.fetch_next_page)
            except RPCError as error:
                raise rpc_error(error, self._run_id) from None
            waited = time.monotonic() - asked
            for entry in reading.current_page or ():
                yield entry
            if self.ended is not None or reading.next_page_token is None:
                return
            if waited > WAITED_SECONDS:
                await asyncio.sleep(REST_SECONDS)

    async def _read(self, entry: HistoryEvent) -> Sequence[Event]:
        if entry.event_type in _ENDS:
            self.ended = entry
        elif entry.event_type == EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED:
            memo = entry.workflow_properties_modified_event_attributes.upserted_memo.fields
            if workflows.EVENTS_MEMO in memo:
                return await self._decoded(memo[workflows.EVENTS_MEMO])
        return ()

    async def _decoded(self, payload: Payload) -> list[Event]:
        [written] = await self._converter.decode([payload])
        try:
            found = _EVENTS.validate_python(written)
        except ValidationError:
            raise RunError(
                f"run {self._run_id} tells of something that is not known here: its workers run a newer DSPEx"
            ) from None
        return [event.model_copy(update={"run_id": self._run_id}) for event in found]


def moment_of(entry: HistoryEvent) -> datetime:
    """When Temporal entered something into a history."""
    return entry.event_time.ToDatetime(tzinfo=UTC)
