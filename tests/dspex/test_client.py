import asyncio
import uuid
from contextlib import asynccontextmanager

import pytest
from real_parts import HeldProvider, until_parked
from temporalio.client import Client as TemporalClient
from temporalio.worker import Worker

import workflows
from dspex import Client, DSPExPlugin
from dspex_core import LM, Evaluate, Predict
from dspex_core.errors import (
    ConfigurationError,
    InputError,
    ProgramError,
    RunConflictError,
    RunFailedError,
    RunNotFoundError,
    UnknownNameError,
)
from dspex_core.optimizers import BootstrapFewShot, LabeledFewShot
from dspex_core.runtime import using
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(24), conformance_rows(16, start=24)
LABELED = LabeledFewShot(metric="exact_match", k=4)


def compile_it(client, lm, optimizer=LABELED, **options):
    given = {"trainset": TRAIN, "valset": VAL, "lm": lm} | options
    return client.compile(given.pop("program", conformance_program()), optimizer=optimizer, **given)


async def activities_of(client, workflow_id):
    """Kinds of the activities that a workflow asked for, in order."""
    history = await client._connection.temporal.get_workflow_handle(workflow_id).fetch_history()
    scheduled = (event.activity_task_scheduled_event_attributes for event in history.events)
    return [attributes.activity_type.name for attributes in scheduled if attributes.activity_type.name]


async def test_a_run_tells_where_it_stands_and_its_events_come_in_order(platform, client):
    val = conformance_rows(60, start=len(TRAIN))
    with HeldProvider(latency_ms=50) as slow:
        lm = LM("openai/fake", api_base=slow.base_url, concurrency=2)
        run = await compile_it(
            client, lm, BootstrapFewShot(metric="exact_match"), valset=val, id="events", chunk_rows=2
        )
        await slow.until_requests(len(TRAIN) + len(val) + 6)  # so the second candidate's, whatever was bootstrapped
        slow.hold()
        seen, partial = [], None
        async for event in run.events():
            seen.append(event)
            if partial is None and event.type == "rows_evaluated" and event.rows < len(val):
                partial = await run.status()
                slow.let_go()
    kinds = [event.type for event in seen]
    assert kinds[-2:] == ["optimizer_finished", "run_finished"]
    assert kinds.count("optimizer_finished") == 1
    candidates = [event for event in seen if event.type == "candidate_evaluated"]
    assert [(event.index, event.label) for event in candidates] == [(0, "baseline"), (1, "bootstrapped demos")]
    phases = list(dict.fromkeys(event.phase for event in seen if event.type == "phase_started"))
    assert phases[-1] == "evaluating bootstrapped demos"
    assert kinds.index("phase_started") < kinds.index("candidate_evaluated")
    rows = [event.rows for event in seen if event.type == "rows_evaluated"]
    assert max(rows) <= len(val)

    assert partial is not None, "a run under way tells how many rows are done"
    assert (partial.status, partial.failure) == ("running", None)
    assert 0 < partial.progress.rows_done < partial.progress.rows_total == len(val)

    ended = await run.status()
    result = await run.result()
    assert ended.status == "completed"
    assert ended.optimizer == "bootstrap_few_shot"
    assert (ended.score, ended.baseline_score) == (result.score, result.baseline_score)
    assert ended.usage == result.usage
    assert result.usage == sum((e.usage for e in seen if e.type == "usage_added"), start=type(result.usage)())
    assert ended.seconds > 0
    assert ended.note is None


async def test_another_process_reads_a_runs_result_by_its_id(platform, client):
    run = await compile_it(client, platform.lm(), id="read-elsewhere")
    first = await run.result()
    async with await Client.connect() as other:
        again = await other.get_run("read-elsewhere").result()
        listed = {summary.id: summary for summary in await other.list_runs()}
    assert again.program.get_state() == first.program.get_state()
    assert again.program.signature.to_spec() == first.program.signature.to_spec()
    assert [candidate.score for candidate in again.candidates] == [candidate.score for candidate in first.candidates]
    assert listed["read-elsewhere"].status == "completed"
    assert listed["read-elsewhere"].optimizer == "labeled_few_shot"


async def test_an_id_that_no_run_has_is_said_to_be_unknown(client):
    run = client.get_run("no-such-run")
    for ask in (run.status, run.result, run.output):
        with pytest.raises(RunNotFoundError, match="'no-such-run'"):
            await ask()
    with pytest.raises(RunNotFoundError, match="'no-such-run'"):
        async for _ in run.events():
            pass


async def test_an_id_of_an_ended_run_is_taken_unless_it_is_resumed(platform, client):
    first = await (await compile_it(client, platform.lm(), id="once")).result()
    with pytest.raises(RunConflictError, match="'once' has ended already"):
        await compile_it(client, platform.lm(), id="once")
    again = await compile_it(client, platform.lm(), id="once", resume=True)
    assert (again.attached, again.resumed) == (False, True)
    second = await again.result()
    assert second.program.get_state() == first.program.get_state()
    assert second.usage.lm_calls == 0
    assert [summary.id for summary in await client.list_runs()].count("once") == 1


async def test_what_is_to_go_on_from_a_run_that_never_was_starts_and_knows_so(platform, client):
    run = await compile_it(client, platform.lm(), id="never-was", resume=True)
    assert (run.attached, run.resumed) == (False, False)
    await run.result()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": LabeledFewShot}, r"optimizer is the class LabeledFewShot: make one, LabeledFewShot\(metric=…\)"),
        ({"optimizer": "mipro_v2"}, "optimizer is to be one, such as"),
        ({"lm": "openai/gpt-4o-mini"}, r"lm is to be an LM, such as LM\('openai/gpt-4o-mini'\)"),
        ({"teacher_lm": 5}, "teacher_lm is to be an LM"),
        ({"trainset": None}, "training set is to be a list of examples, not None"),
        ({"program": Predict}, r"program is the class Predict: make one of it"),
        ({"teacher": "a -> b"}, "teacher is the text"),
    ],
)
async def test_what_is_of_another_kind_is_refused_by_name_before_anything_starts(platform, client, change, said):
    given = {"lm": platform.lm(), "optimizer": LABELED} | change
    with pytest.raises(InputError, match=said):
        await compile_it(client, id="never-begun", **given)
    with pytest.raises(RunNotFoundError):
        await client.get_run("never-begun").status()


async def test_a_metric_that_raises_fails_the_run_and_names_metric_row_and_reason(platform, client):
    run = await compile_it(client, platform.lm(), LabeledFewShot(metric="shop_app:broken"))
    with pytest.raises(RunFailedError, match=r"metric broken failed on row \d+: ZeroDivisionError: a bug in the"):
        await run.result()
    status = await run.status()
    assert status.status == "failed"
    assert "metric broken failed on row" in status.failure


async def test_what_workers_cannot_import_is_refused_before_anything_starts(platform, client):
    before = len(await client.list_runs())
    with pytest.raises(ProgramError, match=r"metric .*cannot be imported by a worker"):
        await compile_it(client, platform.lm(), LabeledFewShot(metric=lambda example, prediction, trace=None: True))
    with pytest.raises(UnknownNameError, match="exact_match"):
        await compile_it(client, platform.lm(), LabeledFewShot(metric="exact_mach"))
    with pytest.raises(ProgramError, match="shop_app:nothing"):
        await compile_it(client, platform.lm(), program="shop_app:nothing")
    assert len(await client.list_runs()) == before


async def test_a_key_given_in_code_cannot_reach_workers_and_is_refused(platform, client):
    lm = platform.lm(api_key="sk-given-in-code")
    with pytest.raises(ConfigurationError, match="never leaves its process") as refused:
        await compile_it(client, lm)
    assert "sk-given-in-code" not in str(refused.value)


async def test_a_built_in_program_runs_as_a_workflow_with_an_activity_a_model_call(platform, client):
    prediction = await client.run_program(
        conformance_program(), inputs={"text": "a refund of the invoice"}, lm=platform.lm(), id="built-in"
    )
    assert prediction.topic in ("account", "billing", "bug", "shipping")
    assert prediction.usage.lm_calls + prediction.usage.cached_calls == 1
    assert await activities_of(client, "built-in") == ["generate"]


async def test_a_users_own_program_runs_in_one_activity(platform, client):
    prediction = await client.run_program(
        "shop_app:router", inputs={"text": "the courier lost my parcel"}, lm=platform.lm(), id="users-own"
    )
    assert prediction.topic in ("account", "billing", "bug", "shipping")
    assert await activities_of(client, "users-own") == ["run_program"]


@pytest.mark.parametrize(
    ("program", "inputs", "said"),
    [
        (conformance_program(), {"text": "a", "txt": "b"}, "there is no input 'txt'; Predict takes text"),
        (conformance_program(), {"txt": "b"}, "input 'text' is missing, and 'txt' is no input of it"),
        ("shop_app:router", {}, "input 'text' is missing; Router takes text"),
        (conformance_program() | Predict("topic -> team"), {}, "input 'text' is missing"),
        (conformance_program(), None, "inputs are to be a mapping"),
    ],
)
async def test_a_program_is_not_started_with_inputs_that_it_cannot_take(platform, client, program, inputs, said):
    with pytest.raises(ProgramError, match=said):
        await client.start_program(program, inputs=inputs, lm=platform.lm(), id="never-begun")
    with pytest.raises(RunNotFoundError):
        await client.get_run("never-begun").status()


async def test_options_and_ids_that_cannot_be_are_refused_by_name(platform, client):
    with pytest.raises(UnknownNameError, match="unknown option of a compile 'chunk_row': did you mean 'chunk_rows'"):
        await compile_it(client, platform.lm(), chunk_row=4)
    for wrong in ("", " ", "a/b", "x" * 1000, 7):
        with pytest.raises(ConfigurationError, match="the id "):
            await compile_it(client, platform.lm(), id=wrong)
        with pytest.raises(ConfigurationError, match="the id "):
            await client.evaluate(conformance_program(), VAL, metric="exact_match", lm=platform.lm(), id=wrong)
        with pytest.raises(ConfigurationError, match="the id "):
            await client.run_program(conformance_program(), inputs={"text": "a"}, lm=platform.lm(), id=wrong)


async def test_nobody_decides_on_a_tool_call_in_a_compile(platform, client):
    run = await compile_it(client, platform.lm())
    with pytest.raises(RunConflictError, match="is a LabeledFewShot, in which no call of a tool waits for a person"):
        await run.approve("send_mail-1")
    await run.result()


async def test_a_durable_evaluation_scores_as_one_in_this_process_does(platform, client):
    evaluation = await client.evaluate(conformance_program(), VAL, metric="exact_match", lm=platform.lm(), id="scored")
    with using(lm=platform.lm()):
        here = await Evaluate(VAL, "exact_match")(conformance_program())
    assert evaluation.score == here.score
    assert evaluation.scores == tuple(row.score for row in here.rows)
    assert set(await activities_of(client, "scored")) == {"evaluate_chunk"}


@asynccontextmanager
async def client_with_own_worker(platform, **plugin):
    """A client whose runs a worker in this process takes: a plain Temporal one, with the plugin."""
    queue = f"own-{uuid.uuid4().hex[:8]}"
    server = platform.server
    temporal = await TemporalClient.connect(server.address, namespace=server.namespace, plugins=[DSPExPlugin(**plugin)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSPEX_TASK_QUEUE", queue)
        client = await Client.connect()
    async with client, Worker(temporal, task_queue=queue):
        yield client


async def test_a_worker_of_ones_own_needs_one_line(platform):
    async with client_with_own_worker(platform, trust=["shop_app"]) as client:
        run = await compile_it(client, platform.lm(), LabeledFewShot(metric="shop_app:lenient"))
        assert (await run.result()).score > 25


@pytest.mark.filterwarnings("ignore:The same plugin type")
async def test_a_worker_may_have_the_plugin_on_itself_alone_or_beside_one_on_its_client(platform, monkeypatch):
    server = platform.server
    trusting = DSPExPlugin(trust=["shop_app"])
    for plugins in ([], [DSPExPlugin()]):
        queue = f"own-{uuid.uuid4().hex[:8]}"
        monkeypatch.setenv("DSPEX_TASK_QUEUE", queue)
        temporal = await TemporalClient.connect(server.address, namespace=server.namespace, plugins=plugins)
        async with await Client.connect() as client, Worker(temporal, task_queue=queue, plugins=[trusting]):
            run = await compile_it(client, platform.lm(), LabeledFewShot(metric="shop_app:lenient"))
            assert (await run.result()).score > 25


async def test_what_one_worker_may_not_import_another_does(platform, client):
    with platform.worker(trust=()):
        run = await compile_it(client, platform.lm(), LabeledFewShot(metric="shop_app:lenient", seed=7))
        assert (await run.result()).score > 25


async def test_code_of_a_package_that_the_worker_does_not_trust_parks_the_run_and_says_what_to_do(platform):
    async with client_with_own_worker(platform) as client:
        run = await compile_it(client, platform.lm(), LabeledFewShot(metric="shop_app:lenient"))
        parked = await until_parked(run)
        assert "does not trust the package 'shop_app'" in parked.parked_reason
        assert "--trust shop_app" in parked.parked_reason
        await run.cancel(hard=True)


async def test_operators_find_runs_by_optimizer_phase_and_score_and_read_them_in_the_web_ui(platform, client):
    run = await compile_it(client, platform.lm(), id="operated")
    result = await run.result()
    temporal = client._connection.temporal
    query = f"DspexOptimizer = 'LabeledFewShot' AND DspexPhase = 'finished' AND DspexBestScore >= {result.score - 0.01}"
    found = await eventually(temporal, query, "operated")
    assert found.typed_search_attributes.get(workflows.BEST_SCORE) == result.score
    assert found.typed_search_attributes.get(workflows.LM_CALLS) == result.usage.lm_calls
    assert found.typed_search_attributes.get(workflows.PROGRAM) == "StringSignature"

    description = await temporal.get_workflow_handle("operated").describe()
    assert await description.static_summary() == "24 rows to learn from, 16 to score on, openai/fake"
    details = await temporal.get_workflow_handle("operated").query("__temporal_workflow_metadata")
    assert "**finished**" in str(details)
    assert f"best score so far: **{result.score:.2f} %**" in str(details)
    assert "labeled demos" in str(details)


async def eventually(temporal, query, workflow_id):
    """A listed workflow; a server's index lags behind its histories."""
    async with asyncio.timeout(20):
        while True:
            async for found in temporal.list_workflows(query):
                if found.id == workflow_id:
                    return found


async def test_a_provider_that_is_away_for_longer_than_calls_are_retried_costs_no_row_its_score(platform, monkeypatch):
    # No patience at all in the LM, so that it is the activities that are tried again.
    monkeypatch.setattr("dspex_core.lm._retrying.ATTEMPTS", 1)
    first = FakeProviderProcess(latency_ms=40)
    async with client_with_own_worker(platform) as client:
        with first:
            lm = LM("openai/fake", api_base=first.base_url, concurrency=4)
            run = await compile_it(client, lm, id="outage")
            while (await asyncio.to_thread(first.stats)).answered < len(VAL) // 2:
                await asyncio.sleep(0)
            first.kill()
        await until_tried_again(client, "outage/evaluation-1")
        port = int(first.base_url.removesuffix("/v1").rpartition(":")[2])
        with FakeProviderProcess(port=port):
            result = await run.result()
        undisturbed = await (await compile_it(client, platform.lm())).result()
    assert result.program.get_state() == undisturbed.program.get_state()
    assert [(c.score, c.failed) for c in result.candidates] == [(c.score, c.failed) for c in undisturbed.candidates]


async def until_tried_again(client, workflow_id):
    handle = client._connection.temporal.get_workflow_handle(workflow_id)
    async with asyncio.timeout(20):
        while True:
            description = await handle.describe()
            if any(activity.attempt > 1 for activity in description.raw_description.pending_activities):
                return


async def test_a_run_under_way_is_attached_to_only_by_who_asks_for_the_same(platform, monkeypatch):
    monkeypatch.setenv("DSPEX_TASK_QUEUE", "nobody works on this one")
    client, lm = await Client.connect(), platform.lm()
    assert not (await compile_it(client, lm, id="held-up")).attached
    same = await compile_it(client, lm, id="held-up")
    assert (same.attached, same.resumed) == (True, False)
    for differing, change in (
        (r"trainset \(digest, size\)", {"trainset": TRAIN[:-1]}),
        (r"lm \(temperature\)", {"lm": platform.lm(temperature=0.5)}),
        (r"options \(k\)", {"optimizer": LabeledFewShot(metric="exact_match", k=2)}),
    ):
        with pytest.raises(RunConflictError, match=f"asked for something else; these differ: {differing}: choose"):
            await compile_it(client, id="held-up", **({"lm": lm} | change))
    await same.cancel(hard=True)
