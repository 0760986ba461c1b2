"""A durable MIPROv2 whose worker is killed goes on to the result of a run in one process that nobody disturbed."""

import asyncio

import pytest
from real_parts import own_platform

from dspex import Client
from dspex_core import using
from dspex_core.optimizers import MIPROv2
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow

OPTIMIZER = MIPROv2(
    metric="exact_match", auto=None, num_candidates=3, num_trials=6, minibatch_size=16, minibatch_full_eval_steps=3
)
IN_FLIGHT = 4


async def until_requests(platform, count):
    while (await asyncio.to_thread(platform.provider.stats)).requests < count:
        await asyncio.sleep(0.02)


async def test_a_killed_worker_changes_no_candidate_and_costs_only_the_calls_in_flight(
    background, tmp_path, monkeypatch
):
    trainset, valset = conformance_rows(30), conformance_rows(32, start=30)
    with own_platform(background, tmp_path, latency_ms=60) as platform, platform.worker() as worker:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        with using(lm=platform.lm(concurrency=16, cache=False)):
            here = await OPTIMIZER.compile(conformance_program(), trainset=trainset, valset=valset)
        calls = platform.provider.stats().requests
        platform.provider.reset()
        async with await Client.connect() as client:
            run = await client.compile(
                conformance_program(), optimizer=OPTIMIZER, trainset=trainset, valset=valset,
                lm=platform.lm(concurrency=IN_FLIGHT),
            )  # fmt: skip
            for share in (0.4, 0.8):
                await until_requests(platform, share * calls)
                before = worker.pid
                worker.kill()
                while worker.pid == before:
                    await asyncio.sleep(0.02)
            there = await run.result()
        stats = platform.provider.stats()
    assert there.candidates == here.candidates
    assert there.score == here.score > here.baseline_score
    assert stats.requests - stats.distinct <= 2 * IN_FLIGHT
