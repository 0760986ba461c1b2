"""An optimizer of a user's own, from a package of the user's own, compiles durably on workers that trust it."""

import asyncio
import importlib

import pytest
from real_parts import own_platform, until_parked

from dspex import Client
from dspex_core import using
from dspex_core.errors import ConfigurationError, ProgramError, RunFailedError
from dspex_core.optimizers import BetterTogether, Optimizer
from dspex_core.testing import check_optimizer, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(24), conformance_rows(24, start=30)
DATA = {"trainset": TRAIN, "valset": VAL}


def shop_app():
    """The user's module; its folder is in the path by now."""
    return importlib.import_module("shop_app")


async def test_it_keeps_the_rules_on_both_runtimes(platform, client):
    lm = platform.lm(cache=False)

    async def durably(optimizer, program, trainset, valset):
        run = await client.compile(program, optimizer=optimizer, trainset=trainset, valset=valset, lm=lm, chunk_rows=3)
        return await run.result()

    trajectory = await check_optimizer(shop_app().ShuffledLabels(metric="exact_match", seed=3), lm, elsewhere=durably)
    assert [label for label, *_ in trajectory.candidates] == ["baseline", "draw 0", "draw 1", "draw 2"]
    assert trajectory.score > trajectory.candidates[0][2]


async def test_its_runs_are_told_apart_by_its_name(platform, client):
    run = await client.compile(
        conformance_program(), optimizer=shop_app().ShuffledLabels(metric="exact_match"), lm=platform.lm(), **DATA
    )
    assert run.id.startswith("shuffled-labels-")
    result, status = await run.result(), await run.status()
    assert (status.optimizer, status.score) == ("ShuffledLabels", result.score)
    listed = {summary.id: summary for summary in await client.list_runs()}
    assert listed[run.id].optimizer == "ShuffledLabels"
    assert (await run.output()).score == result.score


async def test_a_killed_worker_changes_no_candidate(background, tmp_path, monkeypatch):
    with own_platform(background, tmp_path, latency_ms=40) as platform, platform.worker() as worker:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.syspath_prepend(platform.variables["PYTHONPATH"].partition(":")[0])
        optimizer = shop_app().ShuffledLabels(metric="exact_match", seed=5)
        with using(lm=platform.lm(concurrency=16, cache=False)):
            here = await optimizer.compile(conformance_program(), **DATA)
        calls = platform.provider.stats().requests
        platform.provider.reset()
        async with await Client.connect() as client:
            run = await client.compile(
                conformance_program(), optimizer=optimizer, lm=platform.lm(concurrency=4), **DATA
            )
            while (await asyncio.to_thread(platform.provider.stats)).requests < calls / 2:
                await asyncio.sleep(0.02)
            worker.kill()
            there = await run.result()
    assert there.candidates == here.candidates
    assert there.score == here.score > here.baseline_score


async def test_where_no_worker_trusts_its_package_the_run_waits_for_one_that_does(background, tmp_path, monkeypatch):
    with own_platform(background, tmp_path) as platform:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.syspath_prepend(platform.variables["PYTHONPATH"].partition(":")[0])
        given = {"optimizer": shop_app().ShuffledLabels(metric="exact_match"), "lm": platform.lm(), **DATA}
        async with await Client.connect() as client:
            with platform.worker(trust=()):
                waiting, left = [await client.compile(conformance_program(), **given) for _ in range(2)]
                for run in (waiting, left):
                    parked = await until_parked(run)
                    assert "does not trust the package 'shop_app'" in parked.parked_reason
                    assert "start it with --trust shop_app" in parked.parked_reason
                await left.cancel()
                ended = await left.result()
                assert (ended.candidates, ended.score) == ((), None)
            assert platform.provider.stats().requests == 0
            with platform.worker():
                await waiting.resume()
                result = await waiting.result()
    assert result.score > result.baseline_score


async def test_it_may_think_for_some_seconds(platform, client):
    run = await client.compile(
        conformance_program(), optimizer=shop_app().Slow(metric="exact_match", draws=1), lm=platform.lm(), **DATA
    )
    assert (await run.result()).score > 0
    history = await client._connection.temporal.get_workflow_handle(run.id).fetch_history()
    assert not [event for event in history.events if event.HasField("workflow_task_failed_event_attributes")]


async def test_a_defect_of_its_own_fails_the_run_and_says_so(platform, client):
    run = await client.compile(
        conformance_program(), optimizer=shop_app().Mistaken(metric="exact_match"), lm=platform.lm(), **DATA
    )
    with pytest.raises(RunFailedError, match=r"Mistaken\.search failed with AttributeError: .*no_such_thing"):
        await run.result()


async def test_what_no_worker_could_be_given_is_refused_before_anything_is_started(platform, client):
    class Local(Optimizer):
        """An optimizer that nobody else can import."""

    with pytest.raises(ProgramError, match=r"the optimizer .*Local' cannot be imported by a worker"):
        await client.compile(conformance_program(), optimizer=Local(metric="exact_match"), lm=platform.lm(), **DATA)
    with pytest.raises(ProgramError, match="an option of Odd cannot be written down for workers"):
        await client.compile(
            conformance_program(), optimizer=shop_app().Odd(metric="exact_match"), lm=platform.lm(), **DATA
        )
    together = BetterTogether(metric="exact_match", p=shop_app().ShuffledLabels(), strategy="p")
    with pytest.raises(ProgramError, match="step 'p' of BetterTogether is ShuffledLabels, an optimizer of your own"):
        await client.compile(conformance_program(), optimizer=together, lm=platform.lm(), **DATA)
    with pytest.raises(ConfigurationError, match=r"the optimizer is the class ShuffledLabels: make one"):
        await client.compile(conformance_program(), optimizer=shop_app().ShuffledLabels, lm=platform.lm(), **DATA)


async def test_the_command_line_takes_it_by_its_import_path(platform, tmp_path):
    rows = "\n".join(["text,topic", *(f"{row.text},{row.topic}" for row in TRAIN + VAL)])
    (tmp_path / "rows.csv").write_text(rows)
    lm = ["--lm", "openai/fake", "--api-base", platform.provider.base_url]
    command = [
        *("compile", "--train", tmp_path / "rows.csv", "--input", "text", "--output", "topic"),
        *("--metric", "exact_match", "--optimizer", "shop_app:ShuffledLabels", "--set", "draws=2", *lm, "--json"),
        *("-o", tmp_path / "found.json"),
    ]
    durable = await asyncio.to_thread(platform.cli, *command)
    assert durable.returncode == 0, durable.stderr
    here = await asyncio.to_thread(platform.cli, *command, "--in-process")
    assert here.returncode == 0, here.stderr
    wrong = await asyncio.to_thread(platform.cli, *command, "--optimizer", "shop_app:lenient")
    assert wrong.returncode == 2
    assert "name a class that extends Optimizer" in wrong.stderr
