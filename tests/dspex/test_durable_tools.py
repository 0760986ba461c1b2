import asyncio
import dataclasses
import re
import uuid
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from real_parts import until_parked
from temporalio.client import WorkflowUpdateFailedError

import workflows
from dspex import Client
from dspex_core import LM, CodeAct, Predict, ReAct, Supervised, using
from dspex_core.budget import Limits
from dspex_core.errors import ProgramError, RunFailedError
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.record import Example
from dspex_core.requests import ProgramOutline
from dspex_core.testing import FakeProviderProcess

pytestmark = pytest.mark.slow

FIELDS = "question -> answer"


@pytest.fixture(scope="module")
def desk_worker(shared_platform):
    """A worker that trusts the desk's tools, on a queue of its own: the others may not import them."""
    variables = {**shared_platform.variables, "DSPEX_TASK_QUEUE": f"desk-{uuid.uuid4().hex}"}
    platform = dataclasses.replace(shared_platform, variables=variables)
    with platform.worker(trust=("desk_app",)):
        yield platform


@pytest.fixture
async def desk_client(platform, desk_worker, monkeypatch):
    monkeypatch.setenv("DSPEX_TASK_QUEUE", desk_worker.variables["DSPEX_TASK_QUEUE"])
    async with await Client.connect() as connected:
        yield connected


@pytest.fixture
def desk(platform):
    import desk_app

    return desk_app


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


async def test_an_agent_solves_its_task_step_by_step_in_a_workflow_as_it_does_in_process(desk, desk_client, follow):
    agent, lm = ReAct(FIELDS, [desk.lookup, desk.calculator]), follow(desk.SCRIPT)
    with using(lm=lm):
        here = await agent(question=desk.QUESTION)
    run_id = f"agent-{uuid.uuid4().hex}"
    there = await desk_client.run_program(agent, inputs={"question": desk.QUESTION}, lm=lm, id=run_id)
    assert there.trajectory == here.trajectory == desk.TRAJECTORY
    assert there == here
    assert there.usage.lm_calls == here.usage.lm_calls == 5
    assert await activities_of(desk_client, run_id) == [*["generate", "call_tool"] * 3, "generate", "generate"]


@pytest.mark.parametrize(
    "case",
    [
        ("lookup", {"country": "Atlantis"}, "lookup failed: KeyError: 'Atlantis'"),
        ("lookup", {}, "'country' is missing"),
        ("impatient", {}, "hang failed: no result within 0.05 s"),
    ],
)
async def test_a_tool_that_fails_ends_no_workflow(case, desk, desk_client, follow):
    tool, args, said = case
    agent = ReAct(FIELDS, [getattr(desk, tool)])
    script = [desk.FINAL, desk.step("observation_0", "finish", {}), desk.step("", next(iter(agent.tools)), args)]
    prediction = await desk_client.run_program(agent, inputs={"question": desk.QUESTION}, lm=follow(script))
    assert said in prediction.trajectory["observation_0"]
    assert prediction.answer == "117 million"


async def test_a_tool_gets_the_key_of_its_call_and_may_ask_a_model(desk, desk_client, follow):
    run_id = f"keys-{uuid.uuid4().hex}"
    script = [
        desk.FINAL,
        {"when": "[[ ## text ## ]]", "answer": {"topic": "shipping"}},
        desk.step("observation_2", "finish", {}),
        desk.step("observation_1", "ask_model", {"text": "a lost parcel"}),
        desk.step("", "key_of_call", {}),
    ]
    agent = ReAct(FIELDS, [desk.key_of_call, desk.ask_model])
    prediction = await desk_client.run_program(agent, inputs={"question": desk.QUESTION}, lm=follow(script), id=run_id)
    keys = [prediction.trajectory[f"observation_{number}"] for number in (0, 1)]
    assert all(key.startswith(f"{run_id}/") for key in keys)
    assert keys[0] != keys[1]
    assert prediction.trajectory["observation_2"] == "shipping"
    assert prediction.usage.lm_calls == 6


@asynccontextmanager
async def forgetful_model():
    """A model whose context holds one step; it looks a country up three times and then answers."""

    async def answer(request):
        asked = (await request.json())["messages"][-1]["content"]
        shown = re.findall(r"\[\[ ## observation_(\d+) ## \]\]", asked)
        if len(shown) > 1:
            error = {"message": "This model's maximum context length is 8192 tokens.", "type": "invalid_request_error"}
            return web.json_response({"error": error}, status=400)
        name = "finish" if shown == ["2"] else "lookup"
        fields = {"next_thought": "-", "next_tool_name": name, "next_tool_args": '{"country": "Spain"}'}
        if "`[[ ## reasoning ## ]]`" in asked:
            fields = {"reasoning": "-", "answer": "done"}
        text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())
        return web.json_response({"choices": [{"message": {"content": text}}], "usage": {}})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


async def test_a_full_context_is_dealt_with_in_a_workflow_too(desk, desk_client, background):
    with background.running(forgetful_model()) as url:
        lm = LM("openai/fake", api_base=url, cache=False)
        prediction = await desk_client.run_program(ReAct(FIELDS, [desk.lookup]), inputs={"question": "?"}, lm=lm)
    assert prediction.answer == "done"
    assert prediction.trajectory["observation_0"] == "48.6 million"
    assert prediction.trajectory["tool_name_3"] == "finish"


async def test_a_call_that_is_rejected_is_not_made_and_the_agent_reads_why(desk, desk_client, follow, tmp_path):
    arguments = {"folder": str(tmp_path), "amount": 40}
    lm = follow([desk.FINAL, desk.step("observation_0", "finish", {}), desk.step("", "pay", arguments)])
    agent = ReAct(FIELDS, [desk.pay])
    run = await desk_client.start_program(agent, inputs={"question": desk.QUESTION}, lm=lm)
    assert [call.args for call in (await until_parked(run)).approvals] == [arguments]
    # As Temporal's own command says it: the update's name and one JSON value.
    handle = desk_client._connection.temporal.get_workflow_handle(run.id)
    verdict = {"call_id": "pay-1", "reason": "ask finance first"}
    await run.pause()  # or it might have ended before all is said
    for _ in range(2):
        await handle.execute_update("reject", verdict)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("approve", verdict)
    await run.resume()
    assert "rejected already" in str(refused.value.cause)
    prediction = await run.prediction()
    assert not (tmp_path / "paid").exists()
    said = "pay was not carried out, because a person rejected it: ask finance first"
    assert prediction.trajectory["observation_0"] == said
    assert prediction.answer == "117 million"


async def test_code_that_names_a_tool_which_needs_approval_waits_as_a_whole(desk, desk_client, follow, tmp_path):
    code = f"print(pay(folder={str(tmp_path)!r}, amount=7))"
    lm = follow(
        [
            {"when": ["`[[ ## reasoning ## ]]`"], "answer": {"reasoning": "-", "answer": "done"}},
            {"when": [desk.QUESTION], "answer": {"generated_code": code, "finished": "True"}},
        ]
    )
    agent = CodeAct(FIELDS, [desk.pay])
    run = await desk_client.start_program(agent, inputs={"question": desk.QUESTION}, lm=lm)
    [call] = (await until_parked(run)).approvals
    assert call.args == {"code": code}
    assert not (tmp_path / "paid").exists()
    await run.approve(call.call_id)
    prediction = await run.prediction()
    assert prediction.answer == "done"
    assert (tmp_path / "paid").read_text() == "7\n"


async def children_of(client, run_id):
    history = await client._connection.temporal.get_workflow_handle(run_id).fetch_history()
    found = (event.child_workflow_execution_started_event_attributes for event in history.events)
    return [attributes.workflow_execution.workflow_id for attributes in found if attributes.workflow_type.name]


async def test_a_run_of_many_steps_continues_as_new_and_repeats_no_call(desk, desk_client, follow, tmp_path):
    payment = {"folder": str(tmp_path), "amount": 5}
    lm = follow(
        [
            {"when": "`[[ ## in_short ## ]]`", "answer": {"in_short": "how many?"}},
            desk.FINAL,
            desk.step("observation_3", "finish", {}),
            desk.step("observation_2", "pay", payment),
            *desk.SCRIPT[2:],
        ]
    )
    part = Supervised(Predict("question -> in_short"))
    program = part | ReAct(FIELDS, [desk.lookup, desk.calculator, desk.pay])
    request = workflows.ProgramRunInput(
        program=ProgramOutline.of(program),
        lm=lm.config,
        inputs={"question": desk.QUESTION},
        calls_a_leg=3,
        stream=True,
    )
    run_id, temporal = f"long-{uuid.uuid4().hex}", desk_client._connection.temporal
    queue = desk_client.task_queue
    first = await temporal.start_workflow(workflows.PROGRAM_RUN, request, id=run_id, task_queue=queue)
    run = desk_client.get_run(run_id)
    [call] = (await until_parked(run)).approvals
    await run.raise_budget(lm_calls=100)
    await run.approve(call.call_id)
    prediction = await run.prediction()
    assert prediction.trajectory["observation_2"] == "117.0"
    assert prediction.trajectory["observation_3"] == "paid 5"
    assert (tmp_path / "paid").read_text() == "5\n"
    assert prediction.usage.lm_calls == 7

    began = (await temporal.get_workflow_handle(run_id, run_id=first.result_run_id).describe()).start_time
    last = temporal.get_workflow_handle(run_id)
    ended = (await last.describe()).close_time
    assert (await run.status()).seconds == pytest.approx((ended - began).total_seconds(), abs=0.001)
    control = await last.query("control", result_type=workflows.ControlStatus)
    assert (control.budget, control.spent.lm_calls) == (Limits(lm_calls=100), 7)

    legs, leg = [], first.result_run_id
    while leg:
        history = await temporal.get_workflow_handle(run_id, run_id=leg).fetch_history()
        legs.append([event.activity_task_scheduled_event_attributes.activity_type.name for event in history.events
                     if event.HasField("activity_task_scheduled_event_attributes")])  # fmt: skip
        leg = history.events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    assert len(legs) == 4
    assert [kind for kinds in legs for kind in kinds] == [*["generate", "call_tool"] * 4, "generate", "generate"]

    events = [event async for event in run.events()]
    assert [event.offset for event in events if event.offset is not None] == list(range(len(events)))
    thoughts = "".join(event.text for event in events if event.type == "text_streamed" and event.field == "reasoning")
    assert thoughts == "The sum was calculated."
    assert [event.type for event in events].count("approval_requested") == 1


async def test_supervised_parts_are_child_workflows_whose_tools_wait_for_a_person_through_the_run(
    desk, desk_client, follow, tmp_path
):
    arguments = {"folder": str(tmp_path), "amount": 3}
    script = [
        {"when": ["[[ ## answer ## ]]", "[[ ## verdict ## ]]"], "answer": {"verdict": "well done"}},
        desk.FINAL,
        desk.step("observation_0", "finish", {}),
        desk.step("", "pay", arguments),
    ]
    program = Supervised(ReAct(FIELDS, [desk.pay])) | Predict("question, answer -> verdict")
    run = await desk_client.start_program(program, inputs={"question": desk.QUESTION}, lm=follow(script))
    [call] = (await until_parked(run)).approvals
    assert (call.run_id, call.call_id, call.args) == (f"{run.id}/part-1", "pay-1", arguments)
    await run.pause()
    await run.resume()
    await desk_client.get_run(call.run_id).approve(call.call_id)
    prediction = await run.prediction()
    assert (prediction.answer, prediction.verdict) == ("117 million", "well done")
    assert prediction.usage.lm_calls == 4
    assert (tmp_path / "paid").read_text() == "3\n"
    assert await children_of(desk_client, run.id) == [call.run_id]
    # What the run itself did: the part after the supervised one.
    assert await activities_of(desk_client, run.id) == ["generate"]


async def test_a_supervised_part_of_a_users_own_is_restarted_alone(desk, desk_client, follow, tmp_path):
    before = Predict("question -> text")
    script = [
        {"when": "[[ ## topic ## ]]", "answer": {"topic": "parcels"}},
        {"when": "[[ ## text ## ]]", "answer": {"text": "where is it"}},
    ]
    lm, run_id = follow(script), f"restarted-{uuid.uuid4().hex}"
    program = before | Supervised(desk.Stubborn(), tries=2)
    inputs = {"question": "?", "folder": str(tmp_path)}
    run = await desk_client.start_program(program, inputs=inputs, lm=lm, id=run_id)
    async with asyncio.timeout(60):
        while not (tmp_path / "begun").exists():
            await asyncio.sleep(0.05)
        await run.pause()
        (tmp_path / "may go").touch()
        # The try that begins while the run is paused does nothing until it is resumed.
        [part_id] = await children_of(desk_client, run_id)
        handle = desk_client._connection.temporal.get_workflow_handle(part_id)
        while True:
            events = (await handle.fetch_history()).events
            is_second = events[0].workflow_execution_started_event_attributes.attempt == 2
            asked = [event.HasField("external_workflow_execution_signaled_event_attributes") for event in events]
            answered = [event.HasField("workflow_task_completed_event_attributes") for event in events]
            if is_second and any(asked) and any(answered[asked.index(True) :]):
                break
            await asyncio.sleep(0.05)
    assert await activities_of(desk_client, part_id) == []
    await run.resume()
    prediction = await run.prediction()
    assert prediction.topic == "parcels"
    assert (tmp_path / "tries").read_text().count("tried") == 2
    assert await activities_of(desk_client, run_id) == ["generate"]


async def test_a_worker_that_may_not_import_a_tool_says_so(desk, client, follow):
    agent = ReAct(FIELDS, [desk.lookup])
    script = [desk.step("", "lookup", {"country": "Spain"})]
    with pytest.raises(RunFailedError, match="does not trust the package 'desk_app'"):
        await client.run_program(agent, inputs={"question": desk.QUESTION}, lm=follow(script))


async def test_a_tool_that_cannot_be_imported_is_named_before_the_run_starts(client, platform):
    def here(text: str) -> str:
        return text

    with pytest.raises(ProgramError, match="tool here works in this process only"):
        await client.run_program(ReAct(FIELDS, [here]), inputs={"question": "?"}, lm=platform.lm())


async def test_an_agent_compiles_durably_as_in_process(desk, desk_client, follow):
    agent, lm = ReAct(FIELDS, [desk.lookup, desk.calculator]), follow(desk.SCRIPT)
    rows = [Example(question=desk.QUESTION, answer="117 million").with_inputs("question")]
    optimizer = BootstrapFewShot(metric="exact_match")
    with using(lm=lm):
        here = await optimizer.compile(agent, trainset=rows, valset=rows)
    run = await desk_client.compile(agent, optimizer=optimizer, trainset=rows, valset=rows, lm=lm)
    there = await run.result()
    assert there.score == here.score == 100
    assert [candidate.state for candidate in there.candidates] == [candidate.state for candidate in here.candidates]
    with using(lm=lm):
        assert (await there.program(question=desk.QUESTION)).answer == "117 million"
