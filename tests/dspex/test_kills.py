"""Killing anything at any time: a run goes on to the result of an undisturbed one, and finished calls stay finished."""

import asyncio
import json
import os
import signal

import pytest
from real_parts import in_environment, own_platform

from dspex import Client
from dspex_core.optimizers import GEPA, BootstrapFewShot
from dspex_core.runtime import using
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow

OPTIMIZER = BootstrapFewShot(metric="exact_match")
IN_FLIGHT = 4
CALLS = 64 + 64 + 4
"""Baseline, candidate, and at least the demos' calls."""


def platform_of(background, folder, **provider):
    return own_platform(background, folder, latency_ms=120, **provider)


async def compiled(client, platform, run_id):
    return await client.compile(
        conformance_program(),
        optimizer=OPTIMIZER,
        trainset=conformance_rows(40),
        valset=conformance_rows(64, start=40),
        lm=platform.lm(concurrency=IN_FLIGHT),
        id=run_id,
    )


async def until_requests(platform, count):
    while (await asyncio.to_thread(platform.provider.stats)).requests < count:
        await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(background, tmp_path_factory):
    """Program, scores and calls of the same run with nothing killed."""

    async def result(platform):
        async with await Client.connect() as client:
            run = await compiled(client, platform, "undisturbed")
            return await run.result()

    with (
        platform_of(background, tmp_path_factory.mktemp("undisturbed")) as platform,
        platform.worker(),
        in_environment(platform.variables),
    ):
        return background.call(result(platform))


def assert_the_same(result, undisturbed, platform, kills):
    assert result.program.get_state() == undisturbed.program.get_state()
    assert [c.score for c in result.candidates] == [c.score for c in undisturbed.candidates]
    assert result.usage.lm_calls == undisturbed.usage.lm_calls
    stats = platform.provider.stats()
    assert stats.distinct == undisturbed.usage.lm_calls
    assert stats.requests - stats.distinct <= IN_FLIGHT * kills


async def test_a_worker_killed_three_times_on_the_way_costs_only_the_calls_in_flight(
    background, tmp_path, undisturbed, monkeypatch
):
    with platform_of(background, tmp_path) as platform, platform.worker() as worker:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        async with await Client.connect() as client:
            run = await compiled(client, platform, "worker-kills")
            for share in (0.25, 0.5, 0.75):
                await until_requests(platform, share * CALLS)
                before = worker.pid
                worker.kill()
                while worker.pid == before:
                    await asyncio.sleep(0.02)
            assert_the_same(await run.result(), undisturbed, platform, kills=3)


async def test_a_killed_server_comes_back_with_its_state_and_the_run_goes_on(
    background, tmp_path, undisturbed, monkeypatch
):
    with platform_of(background, tmp_path) as platform, platform.worker():
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        async with await Client.connect() as client:
            run = await compiled(client, platform, "server-kill")
            await until_requests(platform, 0.5 * CALLS)
            kill_server(platform)
            result = await run.result()
            assert_the_same(result, undisturbed, platform, kills=0)


async def test_server_and_worker_killed_at_once_cost_only_the_calls_in_flight(
    background, tmp_path, undisturbed, monkeypatch
):
    with platform_of(background, tmp_path) as platform, platform.worker() as worker:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        async with await Client.connect() as client:
            run = await compiled(client, platform, "both-killed")
            await until_requests(platform, 0.5 * CALLS)
            kill_server(platform)
            worker.kill()
            assert_the_same(await run.result(), undisturbed, platform, kills=1)


async def test_instructions_evolve_alike_here_and_with_the_worker_killed_on_the_way(background, tmp_path, monkeypatch):
    optimizer = GEPA(metric="exact_match", max_metric_calls=160, seed=2)
    trainset, valset = conformance_rows(24), conformance_rows(16, start=24)
    with platform_of(background, tmp_path) as platform, platform.worker() as worker:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        with using(lm=platform.lm(cache=False)):
            here = await optimizer.compile(conformance_program(), trainset=trainset, valset=valset)
        made = (await asyncio.to_thread(platform.provider.stats)).requests
        async with await Client.connect() as client:
            run = await client.compile(
                conformance_program(), optimizer=optimizer, trainset=trainset, valset=valset,
                lm=platform.lm(concurrency=IN_FLIGHT),
            )  # fmt: skip
            for share in (0.3, 0.7):
                await until_requests(platform, made + share * made)
                before = worker.pid
                worker.kill()
                while worker.pid == before:
                    await asyncio.sleep(0.02)
            there = await run.result()
        assert there.candidates == here.candidates
        assert there.program.get_state() == here.program.get_state()
        assert there.score > there.baseline_score
        assert platform.provider.stats().requests - 2 * made <= IN_FLIGHT * 2


async def test_a_run_with_no_worker_waits_and_says_so(background, tmp_path, monkeypatch):
    with platform_of(background, tmp_path) as platform:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        async with await Client.connect() as client:
            run = await compiled(client, platform, "lonely")
            status = await run.status()
            assert status.status == "queued"
            with platform.worker():
                assert (await run.result()).score > 0


def kill_server(platform):
    record = json.loads((platform.state_dir / "server.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
