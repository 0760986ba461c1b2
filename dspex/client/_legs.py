"""Legs of a run: a long one continues as new under its id, again and again."""

from contextlib import suppress
from datetime import UTC, datetime

from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionDescription
from temporalio.service import RPCError

from dspex.client._patience import patiently


def first_leg_of(description: WorkflowExecutionDescription) -> str:
    """Temporal's id of the leg that a run began with."""
    found = description.raw_description.workflow_execution_info
    return found.first_run_id or found.execution.run_id


async def seconds_of(temporal: TemporalClient, description: WorkflowExecutionDescription) -> float:
    """How long a run has gone on since its first leg began, until now or its end."""
    began, first = description.start_time, first_leg_of(description)
    if first != description.run_id:
        # The server may have forgotten it, as it forgets what ended long ago; then the last leg's time is all there is.
        with suppress(RPCError):
            began = (await patiently(temporal.get_workflow_handle(description.id, run_id=first).describe)).start_time
    return round(((description.close_time or datetime.now(UTC)) - began).total_seconds(), 3)
