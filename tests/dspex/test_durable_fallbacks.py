"""Fallbacks in durable runs: taken in evaluations, and in compiles only if asked for."""

import json

import pytest

from dspex_core import LM
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow

ROWS = conformance_rows(8)
NOWHERE = "http://127.0.0.1:1/v1"


def unreachable(platform, **options):
    return LM("openai/first", api_base=NOWHERE, fallbacks=[platform.lm()], **options)


async def inputs_of(client, workflow_id):
    """What the activities of a workflow and of its evaluations were given, as JSON."""
    found = []
    history = await client._connection.temporal.get_workflow_handle(workflow_id).fetch_history()
    for event in history.events:
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_id:
            found.append((scheduled.activity_type.name, json.loads(scheduled.input.payloads[0].data)))
        started = event.start_child_workflow_execution_initiated_event_attributes
        if started.workflow_id:
            found += await inputs_of(client, started.workflow_id)
    return found


async def test_an_evaluation_goes_on_with_the_next_model(platform, client):
    evaluation = await client.evaluate(
        conformance_program(), ROWS, metric="exact_match", lm=unreachable(platform), id="falling-back"
    )
    assert evaluation.usage.models == ("openai/fake",)
    assert evaluation.failed == 0


async def test_a_compile_does_so_if_it_is_asked_for(platform, client):
    run = await client.compile(
        conformance_program(),
        optimizer=BootstrapFewShot(metric="exact_match"),
        trainset=ROWS,
        valset=ROWS,
        lm=unreachable(platform, fallbacks_in_compile=True),
        id="falling-back-in-compile",
    )
    result = await run.result()
    assert result.usage.models == ("openai/fake",)


async def test_activities_of_a_compile_know_that_they_are(platform, client):
    run = await client.compile(
        conformance_program(),
        optimizer=BootstrapFewShot(metric="exact_match"),
        trainset=ROWS,
        valset=ROWS,
        lm=platform.lm(),
        id="part-of-a-compile",
    )
    await run.result()
    given = [request for name, request in await inputs_of(client, run.id) if name in ("evaluate_chunk", "trace_rows")]
    assert given
    assert all(request["compiling"] for request in given)
