"""A tool that needs a person's approval waits for it in a durable run, whatever happens to the workers meanwhile."""

import asyncio
import dataclasses
import json
import uuid

import pytest
from real_parts import temporals_command, until_parked

from dspex import Client
from dspex_core import LM, ReAct
from dspex_core.errors import RunConflictError
from dspex_core.testing import FakeProviderProcess

pytestmark = pytest.mark.slow

FIELDS = "question -> answer"


@pytest.fixture
def elsewhere(shared_platform):
    """The platform with a queue of its own, on which no worker is yet."""
    variables = {**shared_platform.variables, "DSPEX_TASK_QUEUE": f"approvals-{uuid.uuid4().hex}"}
    return dataclasses.replace(shared_platform, variables=variables)


@pytest.fixture
async def asker(platform, elsewhere, monkeypatch):
    monkeypatch.setenv("DSPEX_TASK_QUEUE", elsewhere.variables["DSPEX_TASK_QUEUE"])
    async with await Client.connect() as connected:
        yield connected


@pytest.fixture
def desk(platform):
    import desk_app

    return desk_app


@pytest.fixture
def payer(desk, tmp_path):
    """A model that wants to pay 40, and then answers."""
    script = [
        desk.FINAL,
        desk.step("observation_0", "finish", {}),
        desk.step("", "pay", {"folder": str(tmp_path), "amount": 40}),
    ]
    with FakeProviderProcess(script=script) as provider:
        yield LM("openai/fake", api_base=provider.base_url, cache=False)


async def test_a_call_waits_without_any_worker_and_is_made_once_when_a_person_approves_it(
    desk, elsewhere, asker, payer, tmp_path
):
    with elsewhere.worker(trust=("desk_app",)):
        run = await asker.start_program(ReAct(FIELDS, [desk.pay]), inputs={"question": desk.QUESTION}, lm=payer)
        status = await until_parked(run)
    assert "waits for a person's decision on pay(" in status.parked_reason
    [call] = status.approvals
    assert (call.call_id, call.tool, call.args["amount"]) == ("pay-1", "pay", 40)
    # No worker is left: what waits is held by the server alone.
    with elsewhere.worker(trust=("desk_app",)):
        waiting = asyncio.create_task(run.prediction())
        description = await run._handle.describe()
        assert not description.raw_description.pending_activities
        with pytest.raises(RunConflictError, match="no call 'pay-7' waits for a decision: there is pay-1"):
            await run.approve("pay-7")
        assert not (tmp_path / "paid").exists()
        shown = await asyncio.to_thread(elsewhere.cli, "runs", "show", run.id, "--json")
        assert json.loads(shown.stdout)["approvals"] == [call.model_dump()]
        told = await asyncio.to_thread(elsewhere.cli, "runs", "approve", run.id, "pay-1", "--json")
        assert told.returncode == 0, told.stderr
        prediction = await waiting
        assert prediction.trajectory["observation_0"] == "paid 40"
        assert (tmp_path / "paid").read_text() == "40\n"
        events = [event async for event in run.events()]
    assert [event.type for event in events if event.offset is not None] == [
        "approval_requested",
        "approval_decided",
        "run_finished",
    ]
    # The answer is there for whoever asks later.
    assert await asker.get_run(run.id).prediction() == prediction


async def test_a_worker_killed_while_a_person_is_waited_for_and_one_killed_in_a_call_repeat_no_finished_call(
    desk, elsewhere, asker, tmp_path
):
    folder = {"folder": str(tmp_path)}
    script = [
        desk.FINAL,
        desk.step("observation_2", "finish", {}),
        desk.step("observation_1", "die_once", folder),
        desk.step("observation_0", "pay", {**folder, "amount": 40}),
        desk.step("", "deposit", {**folder, "amount": 5}),
    ]
    agent = ReAct(FIELDS, [desk.deposit, desk.pay, desk.die_once])
    with FakeProviderProcess(script=script) as provider, elsewhere.worker(trust=("desk_app",)) as worker:
        lm = LM("openai/fake", api_base=provider.base_url, cache=False)
        run = await asker.start_program(agent, inputs={"question": desk.QUESTION}, lm=lm)
        [call] = (await until_parked(run)).approvals
        worker.kill()
        decide = ("update", "execute", "--workflow-id", run.id, "--input", json.dumps({"call_id": call.call_id}))
        for word, said in (("approve", None), ("approve", None), ("reject", "pay-1 was approved already")):
            code, answer = await temporals_command(elsewhere, *decide, "--name", word)
            assert (code == 0) == (said is None), answer
            assert said is None or said in answer
        # The last call kills its worker the first time; each worker is started anew by the process that watches it.
        prediction = await run.prediction()
        asked = provider.stats().requests
    assert (tmp_path / "paid").read_text() == "5\n40\n"
    keys = (tmp_path / "keys").read_text().split()
    assert len(keys) == 2
    assert keys[0] == keys[1] == prediction.trajectory["observation_2"]
    assert asked == prediction.usage.lm_calls == 5
