"""Events of durable runs, read in another process than the one they happen in."""

import asyncio

import pytest
from pydantic import TypeAdapter
from real_parts import own_platform

from dspex import Client
from dspex_core import Example, events
from dspex_core.optimizers import BootstrapFewShot, LabeledFewShot
from dspex_core.progress import Progress
from dspex_core.seam import ProgramState
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(16), conformance_rows(12, start=16)


async def started(client, lm, run_id, *, optimizer=None, train=TRAIN):
    optimizer = optimizer or BootstrapFewShot(metric="exact_match")
    return await client.compile(
        conformance_program(), optimizer=optimizer, trainset=train, valset=VAL, lm=lm, id=run_id
    )  # fmt: skip


async def logged(run, **options):
    return [event async for event in run.events(**options) if event.offset is not None]


async def test_the_log_is_numbered_without_gaps_and_ends_with_how_the_run_ended(platform, client):
    run = await started(client, platform.lm(), "log")
    watched = await logged(run)
    assert [event.offset for event in watched] == list(range(len(watched)))
    assert {event.run_id for event in watched} == {"log"}
    assert [event.at for event in watched] == sorted(event.at for event in watched)
    assert (watched[0].type, watched[-1].type) == ("optimizer_started", "run_finished")
    result = await run.result()
    assert (watched[-1].status, watched[-1].score) == ("completed", result.score)
    proposed = [event for event in watched if event.type == "candidate_proposed"]
    assert [ProgramState.model_validate(event.state) for event in proposed] == [c.state for c in result.candidates]
    folded = Progress()
    for event in watched:
        folded = folded.after(event)
    assert (folded.usage, folded.best_score, folded.finished) == (result.usage, result.score, True)


async def test_reading_from_any_offset_gives_exactly_what_follows(platform, client):
    run = await started(client, platform.lm(), "offsets")
    whole = await logged(run)
    for offset in (1, 4, len(whole) - 1, len(whole)):
        assert await logged(run, offset=offset, follow=False) == whole[offset:]
        assert await logged(run, offset=offset) == whole[offset:]


async def test_a_subscription_broken_off_goes_on_where_it_was(platform, client):
    run = await started(client, platform.lm(), "broken-off")
    seen = []
    while not seen or seen[-1].type != "run_finished":
        watching = run.events(offset=len(seen))
        async for event in watching:
            if event.offset is not None:
                seen.append(event)
                if len(seen) % 3 == 0:
                    break
        await watching.aclose()
    assert seen == await logged(run, follow=False)


async def test_watching_leaves_no_trace_in_the_run(platform, client):
    alone = await started(client, platform.lm(), "alone", optimizer=LabeledFewShot(metric="exact_match"))
    await alone.result()
    watched = await started(client, platform.lm(), "watched", optimizer=LabeledFewShot(metric="exact_match"))
    await logged(watched)
    kinds = [await kinds_in_history(client, run_id) for run_id in ("alone", "watched")]
    assert kinds[0] == kinds[1]


async def kinds_in_history(client, run_id):
    history = await client._connection.temporal.get_workflow_handle(run_id).fetch_history()
    # How many turns a workflow takes depends on what arrives while it works.
    return sorted(
        event.WhichOneof("attributes") for event in history.events
        if "workflow_task" not in event.WhichOneof("attributes")
    )  # fmt: skip


async def test_a_candidate_with_large_demos_is_told_whole(platform, client):
    train = [Example(text=f"{row.text} {'word ' * 2000}", topic=row.topic).with_inputs("text") for row in TRAIN[:4]]
    run = await started(client, platform.lm(), "large", optimizer=LabeledFewShot(metric="exact_match"), train=train)
    [_, proposed] = [event for event in await logged(run) if event.type == "candidate_proposed"]
    assert len(str(proposed.state)) > 32 * 1024
    assert ProgramState.model_validate(proposed.state) == (await run.result()).candidates[1].state


async def test_a_run_that_fails_tells_why_in_its_last_event(platform, client):
    run = await started(client, platform.lm(), "failing", optimizer=LabeledFewShot(metric="shop_app:broken"))
    last = (await logged(run))[-1]
    assert (last.type, last.status) == ("run_finished", "failed")
    assert "metric broken failed on row" in last.reason


async def test_ended_runs_and_killed_ones_are_read_without_a_worker(background, tmp_path, monkeypatch):
    with own_platform(background, tmp_path) as platform:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        async with await Client.connect() as client:
            with platform.worker():
                run = await started(client, platform.lm(), "ended")
                whole = await logged(run)
            assert await logged(client.get_run("ended")) == whole
            assert await logged(client.get_run("ended"), offset=5, follow=False) == whole[5:]
            killed = await started(client, platform.lm(), "killed")
            await client._connection.temporal.get_workflow_handle("killed").terminate()
            [only] = await logged(killed)
            assert (only.type, only.status, only.offset) == ("run_finished", "cancelled", 0)


async def test_the_command_line_prints_a_line_of_json_for_each_event(platform, client):
    run = await started(client, platform.lm(), "lines")
    following = await asyncio.to_thread(platform.cli, "runs", "events", "lines", "--follow")
    whole = await logged(run, follow=False)
    adapter = TypeAdapter(events.Event)
    assert [adapter.validate_json(line) for line in following.stdout.splitlines()] == whole
    rest = await asyncio.to_thread(platform.cli, "runs", "events", "lines", "--from", len(whole) - 2)
    assert rest.stdout.splitlines() == following.stdout.splitlines()[-2:]
    unknown = await asyncio.to_thread(platform.cli, "runs", "events", "nobody")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "'nobody'" in unknown.stderr
