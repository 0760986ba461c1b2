"""Every optimizer, disturbed in all ways at once, finds what it finds undisturbed."""

import asyncio

import pytest
from real_parts import own_platform

from dspex import Client
from dspex_core import using
from dspex_core.optimizers import OPTIMIZERS, BootstrapFinetune, LabeledFewShot
from dspex_core.testing import Trajectory, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

SMALL = {
    "better_together": {"p": LabeledFewShot(k=4), "w": BootstrapFinetune(poll_seconds=0.05)},
    "bootstrap_finetune": {"poll_seconds": 0.05},
    "bootstrap_few_shot_with_random_search": {"num_candidate_programs": 2},
    "copro": {"breadth": 3, "depth": 2},
    "gepa": {"max_metric_calls": 120},
    "infer_rules": {"num_candidates": 2},
    "mipro_v2": {"auto": None, "num_candidates": 3, "num_trials": 4, "minibatch_size": 8},
    "simba": {"bsize": 8, "num_candidates": 3, "max_steps": 2},
}
SEARCHES = [kind(metric="exact_match", seed=3, **SMALL.get(name, {})) for name, kind in OPTIMIZERS.items()]
DATA = {"trainset": conformance_rows(40), "valset": conformance_rows(20, start=40)}
IN_FLIGHT = 8


class Stage:
    def __init__(self, platform):
        self.provider = platform.provider
        # Models that differ share no answers, so each search makes all of its calls.
        self.lms = [platform.lm(concurrency=IN_FLIGHT, max_tokens=1000 + number) for number in range(len(SEARCHES))]

    async def requests(self):
        return (await asyncio.to_thread(self.provider.stats)).requests

    async def reached(self, requests):
        while await self.requests() < requests:
            await asyncio.sleep(0.02)

    async def outage(self):
        self.provider.change(outage="unavailable")
        await asyncio.sleep(2)
        self.provider.change(outage=None)

    async def compiled_here(self):
        async def compiled(optimizer, lm):
            with using(lm=lm):
                return await optimizer.compile(conformance_program(), **DATA)

        return await asyncio.gather(*map(compiled, SEARCHES, self.lms))


async def killed(worker):
    before = worker.pid
    worker.kill()
    while worker.pid == before:
        await asyncio.sleep(0.02)


def trajectories(results):
    return {optimizer.name: Trajectory.of(result) for optimizer, result in zip(SEARCHES, results, strict=True)}


async def test_a_kill_an_outage_and_a_lost_host_change_no_candidate_no_score_and_no_winner(
    background, tmp_path, monkeypatch
):
    with own_platform(background, tmp_path, latency_ms=10) as platform:
        platform.variables["DSPEX_ARTIFACTS"] = (tmp_path / "artifacts").as_uri()
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "undisturbed"))
        stage = Stage(platform)
        undisturbed = trajectories(await stage.compiled_here())
        calls = await stage.requests()

        monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "out for a while"))
        platform.provider.reset()
        stage = Stage(platform)
        compiling = asyncio.create_task(stage.compiled_here())
        await stage.reached(calls * 0.5)
        await stage.outage()
        assert trajectories(await compiling) == undisturbed

        monkeypatch.setenv("DSPEX_HOME", platform.variables["DSPEX_HOME"])
        platform.provider.reset()
        with platform.worker() as worker:
            async with await Client.connect() as client:
                runs = [
                    await client.compile(conformance_program(), optimizer=optimizer, lm=lm, **DATA)
                    for optimizer, lm in zip(SEARCHES, stage.lms, strict=True)
                ]
                await stage.reached(calls * 0.25)
                await killed(worker)
                await stage.reached(calls * 0.5)
                await stage.outage()
                await stage.reached(calls * 0.8)
                # The worker that is started now is of a host that knows no answers.
                monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "another host"))
                await killed(worker)
                assert trajectories([await run.result() for run in runs]) == undisturbed
        # Refused while it was out, or not yet written down when the host was lost: no more is asked anew.
        assert await stage.requests() <= calls * 1.25
