"""An evaluation is a child workflow that goes through its rows in chunks, a few at a time."""

import pytest

import workflows
from dspex_core.optimizers import LabeledFewShot
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow

ROWS = 120


async def test_every_candidate_is_a_child_workflow_whose_activities_take_chunks_a_few_at_a_time(platform, client):
    run = await client.compile(
        conformance_program(),
        optimizer=LabeledFewShot(metric="exact_match", k=4),
        trainset=conformance_rows(8),
        valset=conformance_rows(ROWS, start=8),
        lm=platform.lm(),
        id="in-chunks",
        chunk_rows=3,
    )
    result = await run.result()
    temporal = client._connection.temporal
    for number, candidate in enumerate(result.candidates, start=1):
        handle = temporal.get_workflow_handle(f"in-chunks/evaluation-{number}")
        description = await handle.describe()
        assert description.workflow_type == workflows.EVALUATION
        assert await description.static_summary() == f"candidate {number - 1} on {ROWS} rows"
        status = await handle.query("status", result_type=workflows.EvaluationStatus)
        assert (status.rows_done, status.rows_total, status.score) == (ROWS, ROWS, candidate.score)
        scheduled, most_outstanding = activities_in(await handle.fetch_history())
        assert scheduled == ROWS // 3
        assert most_outstanding <= 32


def activities_in(history):
    """How many activities were asked for, and the most that were outstanding at a time."""
    scheduled = outstanding = most = 0
    for event in history.events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            scheduled += 1
            outstanding += 1
            most = max(most, outstanding)
        elif event.HasField("activity_task_completed_event_attributes"):
            outstanding -= 1
    return scheduled, most
