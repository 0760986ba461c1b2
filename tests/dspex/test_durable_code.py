import dataclasses
import uuid

import pytest

from dspex import Client
from dspex_core import LM, CodeAct, ProgramOfThought, using
from dspex_core.errors import RunFailedError
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.record import Example
from dspex_core.testing import FakeProviderProcess

pytestmark = pytest.mark.slow

FIELDS = "question -> answer"


@pytest.fixture(scope="module")
def coder_worker(shared_platform):
    """A worker that trusts the coder's tools, on a queue of its own: the others may not import them."""
    variables = {**shared_platform.variables, "DSPEX_TASK_QUEUE": f"coder-{uuid.uuid4().hex}"}
    platform = dataclasses.replace(shared_platform, variables=variables)
    with platform.worker(trust=("coder_app",)):
        yield platform


@pytest.fixture
async def coder_client(platform, coder_worker, monkeypatch):
    monkeypatch.setenv("DSPEX_TASK_QUEUE", coder_worker.variables["DSPEX_TASK_QUEUE"])
    async with await Client.connect() as connected:
        yield connected


@pytest.fixture
def coder(platform):
    import coder_app

    return coder_app


@pytest.fixture
def follow():
    """Starts a model that follows a script, for as long as the test runs; without its cache, as runs are compared."""
    started = []

    def start(script):
        provider = FakeProviderProcess(script=script)
        provider.start()
        started.append(provider)
        return LM("openai/fake", api_base=provider.base_url, cache=False)

    yield start
    for provider in started:
        provider.stop()


async def activities_of(client, run_id):
    history = await client._connection.temporal.get_workflow_handle(run_id).fetch_history()
    scheduled = (event.activity_task_scheduled_event_attributes for event in history.events)
    return [attributes.activity_type.name for attributes in scheduled if attributes.activity_type.name]


async def test_code_is_run_cell_by_cell_in_activities_with_the_variables_of_earlier_cells(coder, coder_client, follow):
    agent, lm = CodeAct(FIELDS, [coder.population]), follow(coder.SCRIPT)
    with using(lm=lm):
        here = await agent(question=coder.QUESTION)
    run_id = f"code-{uuid.uuid4().hex}"
    there = await coder_client.run_program(agent, inputs={"question": coder.QUESTION}, lm=lm, id=run_id)
    assert there.trajectory == here.trajectory == coder.TRAJECTORY
    assert there == here
    assert there.usage.lm_calls == here.usage.lm_calls == 4
    assert await activities_of(coder_client, run_id) == [*["generate", "run_code"] * 3, "generate"]


async def test_a_program_of_thought_runs_durably_as_in_process(coder, coder_client, follow):
    there = await coder_client.run_program(
        ProgramOfThought(FIELDS), inputs={"question": coder.QUESTION}, lm=follow(coder.PROGRAM_SCRIPT)
    )
    assert there.trajectory == coder.PROGRAM_TRAJECTORY
    assert there.answer == "117 million"


async def test_code_that_fails_ends_no_workflow(coder, coder_client, follow):
    script = [coder.FINAL, coder.step("observation_0", "kept"), coder.step("", "kept = 5\npopulation('Atlantis')")]
    agent = CodeAct(FIELDS, [coder.population])
    there = await coder_client.run_program(agent, inputs={"question": coder.QUESTION}, lm=follow(script))
    assert "population failed: KeyError: 'Atlantis'" in there.trajectory["observation_0"]
    assert there.trajectory["code_output_1"] == "5"
    assert there.answer == "117 million"


async def test_tools_that_code_calls_get_keys_and_may_ask_a_model(coder, coder_client, follow):
    run_id = f"keys-{uuid.uuid4().hex}"
    code = "print(key_of_call(), key_of_call())\nask_model('a lost parcel')"
    script = [coder.FINAL, {"when": "[[ ## text ## ]]", "answer": {"topic": "shipping"}}, coder.step("", code)]
    agent = CodeAct(FIELDS, [coder.key_of_call, coder.ask_model])
    prediction = await coder_client.run_program(
        agent, inputs={"question": coder.QUESTION}, lm=follow(script), id=run_id
    )
    *keys, topic = prediction.trajectory["code_output_0"].split()
    assert all(key.startswith(f"{run_id}/") for key in keys)
    assert len(set(keys)) == 2
    assert topic == "'shipping'"
    assert prediction.usage.lm_calls == 3


async def test_a_cell_that_its_workers_death_cut_off_is_run_again_with_the_same_keys(
    coder, coder_client, follow, tmp_path
):
    code = f"steps.append(die_once(folder={str(tmp_path)!r}))\nprint(*steps)"
    script = [coder.FINAL, coder.step("code_output_0", code), coder.step("", "steps = ['first']", finished=False)]
    # The worker process is started anew by the one that watches it.
    prediction = await coder_client.run_program(
        CodeAct(FIELDS, [coder.die_once]), inputs={"question": coder.QUESTION}, lm=follow(script)
    )
    keys = (tmp_path / "keys").read_text().split()
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert prediction.trajectory["code_output_1"] == f"first {keys[0]}"


async def test_a_worker_that_may_not_import_a_tool_says_so(coder, client, follow):
    agent = CodeAct(FIELDS, [coder.population])
    with pytest.raises(RunFailedError, match="does not trust the package 'coder_app'"):
        await client.run_program(agent, inputs={"question": coder.QUESTION}, lm=follow([coder.step("", "1")]))


async def test_an_agent_that_writes_code_compiles_durably_as_in_process(coder, coder_client, follow):
    agent, lm = CodeAct(FIELDS, [coder.population]), follow(coder.SCRIPT)
    rows = [Example(question=coder.QUESTION, answer="117 million").with_inputs("question")]
    optimizer = BootstrapFewShot(metric="exact_match")
    with using(lm=lm):
        here = await optimizer.compile(agent, trainset=rows, valset=rows)
    run = await coder_client.compile(agent, optimizer=optimizer, trainset=rows, valset=rows, lm=lm)
    there = await run.result()
    assert there.score == here.score == 100
    assert [candidate.state for candidate in there.candidates] == [candidate.state for candidate in here.candidates]
