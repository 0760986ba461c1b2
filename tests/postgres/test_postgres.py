"""The servers of docker-compose.yml, without Docker: what is killed in them costs a durable compile nothing."""

import asyncio
import os
import uuid
from pathlib import Path

import pytest
from postgres_stack import COMPOSE, PACKAGES, TEMPORAL_VERSION, UnavailableError, postgres_stack
from real_parts import API_KEY, USER_CODE, in_environment

from dspex import Client
from dspex.worker import WorkerProcess
from dspex_core import LM
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.runtime import using
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

ROOT = Path(__file__).parent.parent.parent
TRAIN, VAL = conformance_rows(40), conformance_rows(60, start=40)


@pytest.fixture(scope="module")
def stack():
    try:
        with postgres_stack() as running:
            yield running
    except UnavailableError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def variables(stack, tmp_path):
    return {
        "DSPEX_HOME": str(tmp_path),
        "DSPEX_TASK_QUEUE": f"postgres-{uuid.uuid4().hex[:8]}",
        "OPENAI_API_KEY": API_KEY,
        "TEMPORAL_ADDRESS": stack.server.address,
        "TEMPORAL_NAMESPACE": stack.server.namespace,
        "TEMPORAL_CONFIG_FILE": str(tmp_path / "no-profiles.toml"),
        "PYTHONPATH": os.pathsep.join([str(USER_CODE), str(ROOT)]),
    }


def optimizer():
    return BootstrapFewShot(metric="exact_match")


async def undisturbed(folder):
    with in_environment({"DSPEX_HOME": str(folder), "OPENAI_API_KEY": API_KEY}), FakeProviderProcess() as provider:
        lm = LM("openai/fake", api_base=provider.base_url)
        with using(lm=lm):
            return await optimizer().compile(conformance_program(), trainset=TRAIN, valset=VAL)


@pytest.mark.slow
async def test_a_compile_ends_the_same_after_kills_of_worker_server_and_database(stack, variables, tmp_path):
    expected = await undisturbed(tmp_path / "undisturbed")
    with in_environment(variables), FakeProviderProcess(latency_ms=100) as provider:
        lm = LM("openai/fake", api_base=provider.base_url, concurrency=8)
        async with WorkerProcess(stack.server, say=print) as worker, await Client.connect(stack.server) as client:
            run = await client.compile(
                conformance_program(), optimizer=optimizer(), trainset=TRAIN, valset=VAL, lm=lm, id="postgres"
            )
            result = asyncio.create_task(run.result())
            for requests, kill in (
                (10, worker.kill),
                (40, lambda: restart_server(stack)),
                (70, lambda: restart_all(stack)),
            ):
                await requested(provider, requests)
                await asyncio.to_thread(kill)
            result = await result
            found = await found_by_attribute(client)
        stats = provider.stats()
    assert (result.score, result.baseline_score) == (expected.score, expected.baseline_score)
    assert result.program.state == expected.program.state
    assert stats.duplicates <= 8, "only calls that were in flight as the worker was killed"
    assert found == [("postgres", "completed", result.score)]


async def found_by_attribute(client):
    """Runs that the server finds by what DSPEx registered there; it learns of their end a little later."""
    query = "DspexOptimizer = 'BootstrapFewShot' AND ExecutionStatus = 'Completed'"
    async with asyncio.timeout(60):
        while not [found async for found in client._connection.temporal.list_workflows(query)]:
            await asyncio.sleep(0.1)
    return [(summary.id, summary.status, summary.score) for summary in await client.list_runs()]


def restart_server(stack):
    stack.kill_temporal()
    stack.start_temporal()


def restart_all(stack):
    stack.kill_postgres()
    stack.kill_temporal()
    stack.start_postgres()
    stack.start_temporal()


async def requested(provider, count):
    async with asyncio.timeout(120):
        while provider.stats().requests < count:
            await asyncio.sleep(0.02)


def test_the_compose_file_runs_the_version_that_is_tested_here():
    tags = dict(service["image"].split(":", 1) for service in COMPOSE["services"].values())
    assert tags["temporalio/server"] == TEMPORAL_VERSION
    assert tags["temporalio/admin-tools"].startswith(f"{TEMPORAL_VERSION}-")
    assert tags["postgres"].startswith("15.")
    assert all(package.endswith(f"@v{TEMPORAL_VERSION}") for package in PACKAGES)
