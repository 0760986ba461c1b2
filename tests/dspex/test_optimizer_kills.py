"""Durable searches whose worker is killed go on to the result of a run in one process that nobody disturbed."""

import asyncio

import pytest
from real_parts import own_platform

from dspex import Client
from dspex_core import using
from dspex_core.optimizers import COPRO, SIMBA, InferRules
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow

SEARCHES = [
    COPRO(metric="exact_match", breadth=4, depth=2),
    InferRules(metric="exact_match", num_candidates=4),
    SIMBA(metric="exact_match", bsize=12, num_candidates=3, max_steps=3),
]
IN_FLIGHT = 4


@pytest.mark.parametrize("optimizer", SEARCHES, ids=lambda optimizer: optimizer.name)
async def test_a_killed_worker_changes_no_candidate_and_costs_only_the_calls_in_flight(
    optimizer, background, tmp_path, monkeypatch
):
    trainset, valset = conformance_rows(24), conformance_rows(24, start=30)
    with own_platform(background, tmp_path, latency_ms=40) as platform, platform.worker() as worker:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        with using(lm=platform.lm(concurrency=16, cache=False)):
            here = await optimizer.compile(conformance_program(), trainset=trainset, valset=valset)
        calls = platform.provider.stats().requests
        platform.provider.reset()
        async with await Client.connect() as client:
            run = await client.compile(
                conformance_program(), optimizer=optimizer, trainset=trainset, valset=valset,
                lm=platform.lm(concurrency=IN_FLIGHT),
            )  # fmt: skip
            while (await asyncio.to_thread(platform.provider.stats)).requests < calls / 2:
                await asyncio.sleep(0.02)
            before = worker.pid
            worker.kill()
            while worker.pid == before:
                await asyncio.sleep(0.02)
            there = await run.result()
        stats = platform.provider.stats()
    assert there.candidates == here.candidates
    assert there.score == here.score > here.baseline_score
    assert stats.requests <= calls + IN_FLIGHT
