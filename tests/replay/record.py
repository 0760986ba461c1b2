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
from pathlib import Path

from dspex import Client, settings
from dspex.devserver import dev_server
from dspex.worker import WorkerProcess
from dspex_core import LM, ChainOfThought
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
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

HISTORIES = Path(__file__).parent / "histories"
USER_CODE = Path(__file__).parents[1] / "user_code"
MACHINE = "a machine"


async def record():
    """Run one of each kind, small, on a server of its own, and write their histories."""
    with tempfile.TemporaryDirectory() as folder:
        binary_home = settings.home()
        os.environ |= {
            "DSPEX_HOME": folder,
            "OPENAI_API_KEY": "unused",
            "PYTHONPATH": os.pathsep.join([str(USER_CODE), str(USER_CODE.parents[1])]),
        }
        sys.path.insert(0, str(USER_CODE))
        async with dev_server(print, state_dir=Path(folder) / "dev-server", binary_home=binary_home) as server:
            with FakeProviderProcess() as provider:
                async with WorkerProcess(server, trust=["shop_app"]), await Client.connect(server) as client:
                    lm = LM("openai/fake", api_base=provider.base_url)
                    for workflow_id in await run_each(client, lm):
                        history = await client._connection.temporal.get_workflow_handle(workflow_id).fetch_history()
                        write(workflow_id, history)


async def run_each(client, lm):
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
    ):
        run = await client.compile(
            program, optimizer=optimizer, trainset=trainset, valset=valset, lm=lm, id=run_id, chunk_rows=3
        )
        await run.result()
    inputs = {"text": "the invoice of my last order"}
    await client.run_program(ChainOfThought("text -> topic"), inputs=inputs, lm=lm, id="program-run")
    await client.run_program("shop_app:router", inputs=inputs, lm=lm, id="users-program-run")
    return [
        "bootstrap-few-shot",
        "bootstrap-few-shot/evaluation-2",
        "mipro-v2",
        "mipro-v2/evaluation-2",
        "gepa",
        "random-search",
        "copro",
        "infer-rules",
        "simba",
        "bootstrap-finetune",
        "better-together",
        "labeled-few-shot",
        "program-run",
        "users-program-run",
    ]


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
