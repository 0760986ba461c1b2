"""Words to a run under way: it pauses, goes on, ends early with the best so far, and nothing is paid for twice."""

import asyncio

import pytest
from real_parts import HeldProvider, own_platform, temporals_command

from dspex import Client
from dspex_core import LM
from dspex_core.errors import RunConflictError, RunError, RunFailedError
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.runtime import using
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow

OPTIMIZER = BootstrapFewShot(metric="exact_match")
TRAIN, VAL = conformance_rows(16), conformance_rows(40, start=16)


@pytest.fixture
def slow_model():
    with HeldProvider(latency_ms=150) as provider:
        yield provider


def compiled(client, provider, run_id, **options):
    given = {"optimizer": OPTIMIZER, "trainset": TRAIN, "valset": VAL, "chunk_rows": 4} | options
    lm = client_lm(provider)
    return client.compile(conformance_program(), lm=lm, id=run_id, **given)


def client_lm(provider, **options):
    return LM("openai/fake", api_base=provider.base_url, concurrency=4, **options)


async def until(holds):
    """Ask until it is so."""
    async with asyncio.timeout(90):
        while not (found := await holds()):
            await asyncio.sleep(0.05)
        return found


async def until_idle(client, run_id):
    """Until no child of a run is under way, and none of its activities."""

    async def idle():
        temporal = client._connection.temporal
        description = await temporal.get_workflow_handle(run_id).describe()
        return not (description.raw_description.pending_children or description.raw_description.pending_activities)

    await until(idle)


async def test_a_paused_run_begins_nothing_new_and_goes_on_to_the_same_result_when_resumed(
    platform, client, slow_model
):
    with using(lm=client_lm(slow_model, cache=False)):
        here = await OPTIMIZER.compile(conformance_program(), trainset=TRAIN, valset=VAL)
    made = slow_model.stats().requests
    slow_model.reset()
    run = await compiled(client, slow_model, "paused")
    await slow_model.until_requests(8)
    await run.pause()
    await run.pause()
    assert (await run.status()).status == "paused"
    assert {summary.id: summary.status for summary in await client.list_runs()}["paused"] == "paused"
    await until_idle(client, "paused")
    held = slow_model.stats().requests
    assert held <= made - len(VAL), "the rows of the second candidate are not begun"
    await run.resume()
    await run.resume()
    result = await run.result()
    assert result.program.get_state() == here.program.get_state()
    assert [c.score for c in result.candidates] == [c.score for c in here.candidates]
    assert result.usage.lm_calls == here.usage.lm_calls == slow_model.stats().requests
    assert result.ended_early is None
    with pytest.raises(RunConflictError, match=r"'?paused'? has ended already \(completed\)"):
        await run.pause()


async def test_a_cancelled_run_ends_with_the_best_it_has_found_so_far(platform, client, slow_model):
    run = await compiled(client, slow_model, "cancelled-early")
    await slow_model.until_requests(len(VAL) + len(TRAIN) + 1)  # so the second candidate's, whatever was bootstrapped
    slow_model.hold()
    await run.cancel()
    result = await run.result()
    slow_model.let_go()
    assert result.ended_early == "cancelled"
    assert result.score == result.baseline_score
    assert [candidate.label for candidate in result.candidates] == ["baseline"]
    status = await run.status()
    assert (status.status, status.score) == ("cancelled", result.score)
    assert {summary.id: summary.status for summary in await client.list_runs()}["cancelled-early"] == "cancelled"
    await run.cancel()  # once more changes nothing
    shown = await asyncio.to_thread(platform.cli, "runs", "show", run.id, "--report", "cancelled.html")
    assert shown.returncode == 0, shown.stderr
    assert run.id in (platform.home / "cancelled.html").read_text(encoding="utf-8")


async def test_what_the_rows_under_way_took_is_told_by_a_run_that_is_cancelled(platform, client, slow_model):
    run = await compiled(client, slow_model, "cancelled-midway")
    await slow_model.until_requests(len(VAL) + len(TRAIN) + 1)
    slow_model.change(latency_ms=800)
    await run.cancel()
    result = await run.result()
    assert result.ended_early == "cancelled"
    assert result.usage.lm_calls == slow_model.stats().requests


async def test_a_run_cancelled_before_anything_was_scored_says_so(platform, client, slow_model):
    run = await compiled(client, slow_model, "cancelled-at-once")
    await slow_model.until_requests(1)
    await run.pause()
    await run.cancel()
    result = await run.result()
    assert result.score is None
    assert result.program.get_state() == conformance_program().get_state()
    status = await run.status()
    assert status.status == "cancelled"
    assert "before anything was scored" in status.note


async def test_runs_that_are_paused_and_cancelled_at_any_moment_end(platform, client, slow_model):
    # A cancellation is not forgotten though it comes together with an answer, or with the start of an evaluation.
    async def told_so_after(seconds):
        run = await compiled(client, slow_model, f"cancelled-after-{seconds:.2f}")
        await asyncio.sleep(seconds)
        # Which comes first is left to chance: one that has ended cannot be paused.
        await asyncio.gather(run.pause(), run.cancel(), return_exceptions=True)
        return await run.result()

    for turn in range(4):
        results = await asyncio.gather(*(told_so_after(turn / 100 + moment / 20) for moment in range(8)))
        assert {result.ended_early for result in results} == {"cancelled"}


async def test_a_hard_cancellation_ends_a_run_at_once_and_without_a_result(platform, client, slow_model):
    run = await compiled(client, slow_model, "cancelled-hard")
    await slow_model.until_requests(1)
    await run.cancel(hard=True)
    with pytest.raises(RunFailedError, match="was cancelled"):
        await run.result()
    status = await run.status()
    assert status.status == "cancelled"
    assert status.note == "cancelled at once; calls of rows that were under way are not in its usage"


async def test_a_run_that_somebody_terminated_says_who_and_why(platform, client, slow_model):
    run = await compiled(client, slow_model, "terminated")
    await slow_model.until_requests(1)
    await client._connection.temporal.get_workflow_handle(run.id).terminate(reason="the model was the wrong one")
    status = await run.status()
    assert status.status == "cancelled"
    assert "terminated by " in status.note
    assert ": the model was the wrong one; calls of rows" in status.note


async def test_a_word_that_no_worker_takes_is_an_error_that_says_what_to_do(
    background, tmp_path, monkeypatch, slow_model
):
    monkeypatch.setattr("dspex.client._words.UPDATE_SECONDS", 0.5)
    with own_platform(background, tmp_path) as platform:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        async with await Client.connect() as client:
            run = await compiled(client, slow_model, "nobody-there")
            with pytest.raises(RunError, match="start one with `dspex worker`, and say it again"):
                await run.pause()


async def test_temporals_own_command_controls_a_run_and_what_is_refused_leaves_no_trace(platform, client, slow_model):
    run = await compiled(client, slow_model, "from-outside")
    await slow_model.until_requests(1)
    slow_model.change(outage="hang")  # or it might have ended before all is said
    await run.pause()
    update = ("update", "execute", "--workflow-id", run.id, "--name")
    for name, wrong, said in (
        ("raise_budget", '{"lm_calls": 0}', "no more than the run took already"),
        ("raise_budget", "{}", "give a limit: usd, lm_calls, tokens or seconds"),
        ("raise_budget", '{"lm_calls": 500, "dollars": 3}', "dollars"),
        ("raise_budget", '{"usd": "much"}', "usd"),
        ("approve", '{"call_id": "refund-1"}', "known updates"),
    ):
        code, complaint = await temporals_command(platform, *update, name, "--input", wrong)
        assert code != 0, name
        assert said in complaint
    for word, standing, *given in (
        ("pause", "paused"),
        ("raise_budget", "paused", "--input", '{"lm_calls": 500}'),
        ("raise_budget", "paused", "--input", '{"lm_calls": 500}'),
        ("resume", "running"),
        ("resume", "running"),
        ("cancel", "running"),
    ):
        code, done = await temporals_command(platform, *update, word, *given)
        assert code == 0, done
        assert done["result"]["status"] == standing
        assert (done["result"]["budget"] or {}).get("lm_calls") == (None if word == "pause" else 500)
    slow_model.change(outage=None)
    assert (await run.result()).ended_early == "cancelled"
    told = [event.type for event in [event async for event in run.events()] if event.offset is not None]
    assert [told.count(kind) for kind in ("run_paused", "budget_set", "run_resumed")] == [1, 1, 1]
    history = await client._connection.temporal.get_workflow_handle(run.id).fetch_history()
    names = [
        event.workflow_execution_update_accepted_event_attributes.accepted_request.input.name
        for event in history.events
        if event.HasField("workflow_execution_update_accepted_event_attributes")
    ]
    assert names == ["pause", "pause", "raise_budget", "raise_budget", "resume", "resume", "cancel"]


async def test_a_part_of_a_compile_is_held_up_with_the_compile_alone(platform, client, slow_model):
    run = await compiled(client, slow_model, "whole")
    await slow_model.until_requests(1)
    part = client.get_run("whole/evaluation-1")
    for word, say in (
        ("pause", part.pause()),
        ("resume", part.resume()),
        ("raise the budget of", part.raise_budget(lm_calls=900)),
    ):
        with pytest.raises(RunConflictError, match=f"part of run whole: {word} that"):
            await say
    await run.pause()
    await until_idle(client, run.id)  # its rows need the model, which ends with this test
    await run.cancel(hard=True)
