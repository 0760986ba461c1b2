"""Records the histories that tests/replay replays: `python tests/replay/record.py`.

To be run again when a new kind of run is to be held: what is recorded already stays as it is. Not to be run when a
replay fails: then the workflow's change needs `workflow.patched`, because runs that users have under way would fail
alike.
"""

import asyncio
import json
import os
import sys
import tempfile
from itertools import count
from pathlib import Path

import pytest

import workflows
from dspex import Client, settings
from dspex.devserver import dev_server
from dspex.worker import WorkerProcess
from dspex_core import LM, ChainOfThought, Predict, ReAct, Supervised, references
from dspex_core.artifacts import store_dataset
from dspex_core.metrics import metric_reference
from dspex_core.optimizers import (
    COPRO,
    GEPA,
    SIMBA,
    BetterTogether,
    BootstrapFewShot,
    BootstrapFewShotWithRandomSearch,
    BootstrapFinetune,
    InferRules,
    LabeledFewShot,
    MIPROv2,
)
from dspex_core.requests import ProgramOutline
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

HISTORIES = Path(__file__).parent / "histories"
USER_CODE = Path(__file__).parents[1] / "user_code"
MACHINE = "a machine"
DESK = "question -> answer"

sys.path.insert(0, str(USER_CODE))
import desk_app  # noqa: E402 - user code, found on the path above
import shop_app  # noqa: E402


async def record():
    """Run one of each kind, small, on a server of its own, and write their histories."""
    with tempfile.TemporaryDirectory() as folder:
        binary_home = settings.home()
        os.environ |= {
            "DSPEX_HOME": folder,
            "OPENAI_API_KEY": "unused",
            "PYTHONPATH": os.pathsep.join([str(USER_CODE), str(USER_CODE.parents[1])]),
        }
        async with dev_server(print, state_dir=Path(folder) / "dev-server", binary_home=binary_home) as server:
            with FakeProviderProcess() as provider, FakeProviderProcess(chunk_latency_ms=100) as slow:
                async with (
                    WorkerProcess(server, trust=["shop_app", "desk_app"]),
                    await Client.connect(server) as client,
                ):
                    for workflow_id in await compile_each(client, model_of(provider)):
                        write(workflow_id, await history_of(client, workflow_id))
                    await evaluate(client, model_of(provider))
                    await run_programs(client, model_of(provider), model_of(slow))
                    await run_agents(client)


def model_of(provider):
    return LM("openai/fake", api_base=provider.base_url)


async def history_of(client, workflow_id, leg=None):
    return await client._connection.temporal.get_workflow_handle(workflow_id, run_id=leg).fetch_history()


async def write_legs(client, workflow_id, leg):
    """Write the history of each leg of a run; `leg` is the first one's id."""
    for number in count(1):
        history = await history_of(client, workflow_id, leg)
        write(f"{workflow_id}.leg-{number}", history)
        leg = history.events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        if not leg:
            return


async def evaluate(client, lm):
    """An evaluation of its own, of several legs, that somebody pauses, resumes and gives a budget."""
    request = workflows.EvaluationInput(
        program=ProgramOutline.of(conformance_program()),
        metric=metric_reference("exact_match"),
        lm=lm.config,
        dataset=await store_dataset(client._connection.store, conformance_rows(24)),
        chunk_rows=2,
        chunks_a_leg=5,
        searchable=True,
    )
    temporal = client._connection.temporal
    handle = await temporal.start_workflow(workflows.EVALUATION, request, id="evaluation", task_queue=client.task_queue)
    run = client.get_run("evaluation")
    await run.pause()
    await run.raise_budget(lm_calls=100)
    await run.resume()
    await run.evaluation()
    await write_legs(client, "evaluation", handle.first_execution_run_id)


async def run_programs(client, lm, slow):
    """Programs without tools: one of built-in modules, one of a user's own, and both streamed."""
    inputs = {"text": "the invoice of my last order"}
    for run_id, program, model, stream in (
        ("program-run", ChainOfThought("text -> topic"), lm, False),
        ("users-program-run", "shop_app:router", lm, False),
        ("streamed-program-run", ChainOfThought("text -> topic"), slow, True),
        ("users-streamed-program-run", "shop_app:router", slow, True),
    ):
        run = await client.start_program(program, inputs=inputs, lm=model, id=run_id, stream=stream)
        await run.prediction()
        write(run_id, await history_of(client, run_id))


async def run_agents(client):
    """Agents whose tools wait for a person: in a run of several legs, and in a part that stands for itself."""
    asked, inputs = [desk_app.lookup, desk_app.asked_for], {"question": desk_app.QUESTION}
    script = [
        {"when": "`[[ ## in_short ## ]]`", "answer": {"in_short": "how many?"}},
        {"when": "`[[ ## verdict ## ]]`", "answer": {"verdict": "well done"}},
        desk_app.FINAL,
        desk_app.step("observation_3", "finish", {}),
        desk_app.step("observation_2", "asked_for", {"country": "Portugal"}),
        desk_app.step("observation_1", "asked_for", {"country": "Spain"}),
        desk_app.step("observation_0", "lookup", {"country": "Spain"}),
        desk_app.step("", "lookup", {"country": "France"}),
    ]
    with FakeProviderProcess(script=script) as provider:
        lm = model_of(provider)
        request = workflows.ProgramRunInput(
            program=ProgramOutline.of(Supervised(Predict("question -> in_short")) | ReAct(DESK, asked)),
            lm=lm.config,
            inputs=inputs,
            calls_a_leg=3,
            searchable=True,
        )
        handle = await client._connection.temporal.start_workflow(
            workflows.PROGRAM_RUN, request, id="long-program-run", task_queue=client.task_queue
        )
        await decide_on_both(client, "long-program-run", "long-program-run")
        await write_legs(client, "long-program-run", handle.first_execution_run_id)
        program = Supervised(ReAct(DESK, asked)) | Predict("question, answer -> verdict")
        run = await client.start_program(program, inputs=inputs, lm=lm, id="supervised-program-run")
        await decide_on_both(client, run.id, f"{run.id}/part-1", pause=True)
        for workflow_id in (run.id, f"{run.id}/part-1"):
            write(workflow_id, await history_of(client, workflow_id))


async def decide_on_both(client, run_id, asking_id, *, pause=False):
    """Approve the first call that waits and reject the second."""
    run, asking = client.get_run(run_id), client.get_run(asking_id)
    await until_waiting(run, "asked_for-1")
    if pause:
        await run.pause()
        await run.resume()
    await asking.approve("asked_for-1")
    await until_waiting(run, "asked_for-2")
    await asking.reject("asked_for-2", reason="one is enough")
    await run.prediction()


async def until_waiting(run, call_id):
    while [call.call_id for call in (await run.status()).approvals] != [call_id]:
        await asyncio.sleep(0.05)


async def compile_each(client, lm):
    """A compile with each optimizer whose history is not there; gives the ids of the workflows that were run."""
    ids = []
    trainset, valset = conformance_rows(16), conformance_rows(24, start=16)
    for run_id, program, optimizer in (
        ("bootstrap-few-shot", conformance_program(), BootstrapFewShot(metric="exact_match")),
        ("gepa", conformance_program(), GEPA(metric="exact_match", max_metric_calls=100, parallel_proposals=2)),
        (
            "mipro-v2",
            conformance_program(),
            MIPROv2(metric="exact_match", auto=None, num_candidates=2, num_trials=2, minibatch_size=4),
        ),
        (
            "random-search",
            conformance_program(),
            BootstrapFewShotWithRandomSearch(metric="exact_match", num_candidate_programs=1),
        ),
        ("copro", conformance_program(), COPRO(metric="exact_match", breadth=2, depth=2)),
        ("infer-rules", conformance_program(), InferRules(metric="exact_match", num_candidates=2)),
        ("simba", conformance_program(), SIMBA(metric="exact_match", bsize=8, num_candidates=2, max_steps=2)),
        (
            "bootstrap-finetune",
            conformance_program(),
            BootstrapFinetune(metric="exact_match", poll_seconds=0.1, metric_threshold=0.0),
        ),
        (
            "better-together",
            conformance_program(),
            BetterTogether(
                metric="exact_match",
                p=LabeledFewShot(k=3),
                w=BootstrapFinetune(poll_seconds=0.1, metric_threshold=0.0),
            ),
        ),
        ("labeled-few-shot", "shop_app:router", LabeledFewShot(metric="shop_app:lenient", k=3)),
        ("own-optimizer", conformance_program(), shop_app.ShuffledLabels(metric="exact_match", draws=2)),
    ):
        if (HISTORIES / f"{run_id}.json").exists():
            continue
        with pytest.MonkeyPatch.context() as patch:
            # Whatever else is written into the user's module later, this is replayed with it.
            patch.setattr(references, "_source_digest", lambda _: "")
            run = await client.compile(
                program, optimizer=optimizer, trainset=trainset, valset=valset, lm=lm, id=run_id, chunk_rows=3
            )
        await run.result()
        ids += [run_id, f"{run_id}/evaluation-2"] if run_id in ("bootstrap-few-shot", "mipro-v2") else [run_id]
    return ids


def write(workflow_id, history):
    path = HISTORIES / f"{workflow_id.replace('/', '.')}.json"
    if not path.exists():
        text = json.dumps(scrubbed(json.loads(history.to_json())), indent=1) + "\n"
        path.write_text(text, encoding="utf-8")


def scrubbed(value):
    """The history without process ids and host names."""
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: MACHINE if key == "identity" else scrubbed(item) for key, item in value.items()}
    if found.get("kind") == "TASK_QUEUE_KIND_STICKY":
        found["name"] = f"{MACHINE}:sticky"
    return found


if __name__ == "__main__":
    asyncio.run(record())
