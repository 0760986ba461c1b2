"""A run that goes on from an ended one repeats nothing that was finished, though no answer is in any cache."""

import asyncio
from collections import Counter

import pytest
from real_parts import in_environment
from test_conformance import SMALL

from dspex import Client
from dspex.worker import WorkerProcess
from dspex_core import LM, Example, using
from dspex_core.optimizers import OPTIMIZERS, BootstrapFewShot, MIPROv2
from dspex_core.testing import FakeProviderProcess, Trajectory, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(24), conformance_rows(20, start=24)
TRAINED = ("bootstrap_finetune", "better_together")
SEARCHES = [name for name in OPTIMIZERS if name not in ("labeled_few_shot", *TRAINED)]
IN_FLIGHT = 4


async def start(client, lm, optimizer, run_id, **options):
    given = {"trainset": TRAIN, "valset": VAL, "chunk_rows": 5} | options
    return await client.compile(conformance_program(), optimizer=optimizer, lm=lm, id=run_id, **given)


async def terminate_at(client, provider, run_id, *, requests):
    async with asyncio.timeout(120):
        while (await asyncio.to_thread(provider.stats)).requests < requests:
            await asyncio.sleep(0.02)
    await client._connection.temporal.get_workflow_handle(run_id).terminate()


@pytest.fixture(scope="module")
def slow_provider():
    with FakeProviderProcess(latency_ms=20) as provider:
        yield provider


@pytest.fixture
def provider(slow_provider):
    slow_provider.reset()
    return slow_provider


def lm_of(provider, **options):
    return LM("openai/fake", api_base=provider.base_url, concurrency=IN_FLIGHT, **options)


@pytest.mark.parametrize("name", SEARCHES)
async def test_a_terminated_run_goes_on_to_the_undisturbed_result_with_no_cache_at_all(name, client, provider):
    optimizer = OPTIMIZERS[name](metric="exact_match", seed=3, **SMALL.get(name, {}))
    lm = lm_of(provider, cache=False)
    with using(lm=lm):
        here = await optimizer.compile(conformance_program(), trainset=TRAIN, valset=VAL)
    calls = provider.stats().requests
    provider.reset()
    await start(client, lm, optimizer, name)
    await terminate_at(client, provider, name, requests=calls * 0.6)
    there = await (await start(client, lm, optimizer, name, resume=True)).result()
    assert Trajectory.of(there) == Trajectory.of(here)
    assert there.candidates == here.candidates
    assert there.usage.lm_calls + there.usage.cached_calls == calls
    assert there.usage.cached_calls > 0
    asked = provider.stats().requests
    assert asked <= calls + IN_FLIGHT
    again = await (await start(client, lm, optimizer, name, resume=True)).result()
    assert Trajectory.of(again) == Trajectory.of(here)
    assert (again.usage.lm_calls, again.usage.cached_calls) == (0, calls)
    assert provider.stats().requests == asked


async def test_more_trials_go_on_from_those_of_the_run_that_ended(client, provider):
    options = SMALL["mipro_v2"] | {"num_trials": 8}
    many, few = (MIPROv2(metric="exact_match", seed=3, **options | {"num_trials": trials}) for trials in (8, 4))
    lm = lm_of(provider, cache=False)
    with using(lm=lm):
        here = await many.compile(conformance_program(), trainset=TRAIN, valset=VAL)
    calls = provider.stats().requests
    provider.reset()
    await (await start(client, lm, few, "more-trials")).result()
    there = await (await start(client, lm, many, "more-trials", resume=True)).result()
    assert Trajectory.of(there) == Trajectory.of(here)
    assert provider.stats().requests == calls


async def test_a_host_with_the_artifacts_alone_runs_no_metric_again_and_asks_for_no_answer_twice(
    platform, client, provider, tmp_path
):
    journal = tmp_path / "journal"
    journal.touch()
    train, val = (
        [Example(row.to_dict() | {"journal": str(journal)}).with_inputs("text") for row in rows]
        for rows in (TRAIN, VAL)
    )
    optimizer = BootstrapFewShot(metric="shop_app:noted", max_bootstrapped_demos=2)
    run = await start(client, lm_of(provider), optimizer, "moved", trainset=train, valset=val)
    first = await run.result()
    calls, scored = provider.stats().requests, journal.read_text()
    assert max(Counter(scored.splitlines()).values()) == 2  # for two candidates
    elsewhere = platform.variables | {
        "DSPEX_HOME": str(tmp_path / "home"),
        "DSPEX_ARTIFACTS": f"file://{platform.home}/artifacts",
        "DSPEX_TASK_QUEUE": "another-host",
    }
    with in_environment(elsewhere):
        async with WorkerProcess(platform.server, trust=["shop_app"]), await Client.connect() as fresh:
            run = await start(fresh, lm_of(provider), optimizer, "moved", trainset=train, valset=val, resume=True)
            again = await run.result()
    assert Trajectory.of(again) == Trajectory.of(first)
    assert provider.stats().requests == calls
    assert journal.read_text() == scored
