"""Data sets of any size break no Temporal limit: histories hold digests and summaries."""

import uuid
from contextlib import asynccontextmanager

import pytest
from real_parts import until_parked
from temporalio.client import Client as TemporalClient
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import workflows._details
from dspex import Client, DSPExPlugin
from dspex_core import Example
from dspex_core.artifacts import store_dataset
from dspex_core.budget import Limits
from dspex_core.metrics import metric_reference
from dspex_core.modules import build_program
from dspex_core.optimizers import LabeledFewShot, MIPROv2
from dspex_core.programs import ImportedProgram
from dspex_core.references import reference_to
from dspex_core.requests import ProgramOutline
from dspex_core.seam import percent
from dspex_core.testing import conformance_program, conformance_rows
from workflows._options import ACTIVITIES_A_LEG

pytestmark = pytest.mark.slow

LARGEST_EVENT_BYTES = 64 * 1024
MOST_EVENTS, MOST_BYTES = 51_200, 50 * 1024 * 1024
"""What Temporal bears of one history."""
MANY = 100_000
SOME = 20_000
LABELS = ("even", "odd")


@asynccontextmanager
async def own_worker(platform, **plugin):
    """A client whose runs a worker in this process takes, without the sandbox that would load modules anew."""
    queue = f"limits-{uuid.uuid4().hex[:8]}"
    temporal = await TemporalClient.connect(platform.server.address, plugins=[DSPExPlugin(**plugin)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSPEX_TASK_QUEUE", queue)
        client = await Client.connect()
    async with client, Worker(temporal, task_queue=queue, workflow_runner=UnsandboxedWorkflowRunner()):
        yield client


async def start(client, kind, request, workflow_id):
    """Start a workflow as anybody could who reaches the server."""
    await client._connection.temporal.start_workflow(kind, request, id=workflow_id, task_queue=client.task_queue)


async def histories_of(client, workflow_id):
    """Histories of every leg of a workflow, the first leg first."""
    temporal = client._connection.temporal
    legs, run_id = [], None
    while True:
        history = await temporal.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        legs.insert(0, history)
        started = history.events[0].workflow_execution_started_event_attributes
        run_id = started.continued_execution_run_id
        if not run_id:
            return legs


def size_of(history):
    return sum(event.ByteSize() for event in history.events)


async def test_a_hundred_thousand_training_rows_and_fields_of_three_megabytes_stay_out_of_histories(platform, client):
    large = "something about the invoice " * 115_000
    assert len(large) > 3_000_000
    trainset = [Example(text=large, topic="billing").with_inputs("text"), *conformance_rows(MANY)]
    valset = [Example(text=large, topic="billing").with_inputs("text"), *conformance_rows(3)]
    run = await client.compile(
        conformance_program(),
        # The first rows, so that the large one is among the demos: it then is in states, requests and results.
        optimizer=LabeledFewShot(metric="exact_match", k=2, sample=False),
        trainset=trainset,
        valset=valset,
        lm=platform.lm(cache=False),
        id="large",
    )
    result = await run.result()
    (demos,) = [predictor.demos for predictor in result.candidates[1].state.predictors.values()]
    assert demos[0]["text"] == large
    assert [candidate.failed for candidate in result.candidates] == [0, 0]
    for workflow_id in ("large", "large/evaluation-1", "large/evaluation-2"):
        (history,) = await histories_of(client, workflow_id)
        assert max(event.ByteSize() for event in history.events) <= LARGEST_EVENT_BYTES
        assert size_of(history) < 200_000
        assert len(history.events) < 200


async def test_an_evaluation_too_long_for_one_history_goes_on_in_further_ones(platform):
    in_a_leg = 20
    sizes_and_labels = ((1 + number % 7, LABELS[number % 3 > 0]) for number in range(SOME))
    rows = [Example(text="x" * size, label=label).with_inputs("text") for size, label in sizes_and_labels]
    expected = tuple(float(LABELS[len(row.text) % 2] == row.label) for row in rows)
    program = build_program(ImportedProgram(code=reference_to("echo_app:echo", what="program")), trust=None)
    async with own_worker(platform, trust=["echo_app"]) as client:
        request = workflows.EvaluationInput(
            program=ProgramOutline.of(program),
            metric=metric_reference("exact_match"),
            lm=platform.lm().config,
            dataset=await store_dataset(client._plugin.store, rows),
            chunk_rows=400,
            chunks_a_leg=in_a_leg,
        )
        await start(client, workflows.EVALUATION, request, "in-legs")
        output = await client.get_run("in-legs")._answer(workflows.EVALUATION, workflows.EvaluationOutput)
        legs = await histories_of(client, "in-legs")
        last = await client._connection.temporal.get_workflow_handle("in-legs").query(
            "status", result_type=workflows.EvaluationStatus
        )
    assert output.scores == expected
    assert len(output.rows) == SOME // 400
    assert len(legs) == 3
    for history in legs:
        assert max(event.ByteSize() for event in history.events) <= LARGEST_EVENT_BYTES
        assert size_of(history) < 200_000
        # So a leg of 1,000 activities is a sixth of what a history bears, whatever comes of each.
        assert len(history.events) <= MOST_EVENTS / 6 / ACTIVITIES_A_LEG * in_a_leg
    assert (last.rows_done, last.rows_total) == (SOME, SOME)
    assert last.score == percent(expected)


async def test_a_budget_holds_over_all_legs_of_an_evaluation(platform):
    async with own_worker(platform) as client:
        request = workflows.EvaluationInput(
            program=ProgramOutline.of(conformance_program()),
            metric=metric_reference("exact_match"),
            lm=platform.lm(cache=False, concurrency=2).config,
            dataset=await store_dataset(client._plugin.store, conformance_rows(16)),
            chunk_rows=2,
            chunks_a_leg=2,
            allowance=Limits(lm_calls=9),
        )
        await start(client, workflows.EVALUATION, request, "held-in-legs")
        run = client.get_run("held-in-legs")
        assert "budget reached: 9 LM calls may be taken, and 9 LM calls" in (await until_parked(run)).parked_reason
        await run.raise_budget(lm_calls=16)
        output = await run._answer(workflows.EVALUATION, workflows.EvaluationOutput)
        legs = await histories_of(client, "held-in-legs")
    assert (len(output.scores), output.usage.lm_calls) == (16, 16)
    assert len(legs) >= 3


async def test_five_hundred_candidates_would_take_less_than_half_of_what_a_history_bears(platform, monkeypatch):
    lines = count_calls(monkeypatch, "line_of")
    # This one has more parts than any other search: suggestions, trials on some rows, evaluations on all.
    optimizer = MIPROv2(
        metric="exact_match", auto=None, num_candidates=8, num_trials=12, minibatch_size=6, parallel_trials=1, seed=1
    )
    rows = conformance_rows(60)
    async with own_worker(platform) as client:
        run = await client.compile(
            conformance_program(),
            optimizer=optimizer,
            trainset=rows[:40],
            valset=rows[40:],
            lm=platform.lm(),
            id="bounded",
        )
        candidates = len((await run.result()).candidates)
        (history,) = await histories_of(client, "bounded")
    assert candidates >= 10
    assert 500 / candidates * len(history.events) < MOST_EVENTS / 2
    assert 500 / candidates * size_of(history) < MOST_BYTES / 2
    assert len(lines) == candidates, "the table of candidates is not written anew with every event"


def count_calls(monkeypatch, name):
    """Calls of a function that writes where a compile stands."""
    calls, function = [], getattr(workflows._details, name)
    monkeypatch.setattr(workflows._details, name, lambda *given: calls.append(1) or function(*given))
    return calls
