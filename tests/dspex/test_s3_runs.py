"""Durable runs whose artifacts are on S3: workers of two machines, wrong credentials, a store that is away."""

import asyncio
import os
import time
import uuid
from contextlib import contextmanager

import pytest
from real_parts import in_environment, until_parked
from s3_server import ACCESS_KEY, SECRET_KEY

from dspex import Client
from dspex.garbage import collect_garbage
from dspex.worker import DSPExPlugin, WorkerProcess
from dspex_core import LM, using
from dspex_core.errors import ArtifactAccessError
from dspex_core.optimizers import BootstrapFewShot, LabeledFewShot
from dspex_core.record import Example
from dspex_core.testing import FakeProviderProcess, Trajectory, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

OPTIMIZER = BootstrapFewShot(metric="exact_match", seed=3)
VAL = conformance_rows(24, start=16)
DATA = {"trainset": conformance_rows(16), "valset": VAL}
IN_FLIGHT = 4


class Machines:
    """Workers with a folder each, and a bucket that they share."""

    def __init__(self, platform, s3, folder):
        self._platform, self._folder = platform, folder
        self.variables = {**platform.variables, **s3.variables, "DSPEX_TASK_QUEUE": f"s3-{uuid.uuid4().hex[:8]}"}

    def home(self, name):
        return self._folder / name

    @contextmanager
    def worker(self, name, **variables):
        given = {**self.variables, "DSPEX_HOME": str(self.home(name)), **variables}
        process = WorkerProcess(self._platform.server, say=print)
        with in_environment(given), self._platform.background.running(process):
            yield process


@pytest.fixture
def machines(platform, s3, tmp_path, monkeypatch):
    made = Machines(platform, s3, tmp_path)
    for name, value in {**made.variables, "DSPEX_HOME": str(tmp_path / "client")}.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def model():
    with FakeProviderProcess(latency_ms=50) as provider:
        yield provider


def lm_of(model, **options):
    return LM("openai/fake", api_base=model.base_url, concurrency=IN_FLIGHT, **options)


async def compiled(client, model, **options):
    return await client.compile(conformance_program(), optimizer=OPTIMIZER, lm=lm_of(model), **DATA, **options)


async def until_requests(model, count):
    while (await asyncio.to_thread(model.stats)).requests < count:
        await asyncio.sleep(0.02)


async def test_workers_of_two_machines_share_a_bucket_and_one_is_killed_on_the_way(machines, model, s3):
    with using(lm=lm_of(model, cache=False)):
        here = await OPTIMIZER.compile(conformance_program(), **DATA)
    calls = model.stats().requests
    with machines.worker("one") as one, machines.worker("two"):
        async with await Client.connect() as client:
            run = await compiled(client, model, chunk_rows=2)
            await until_requests(model, 1.5 * calls)
            one.kill()
            there = await run.result()
            scored = await client.evaluations(run.id).scored_rows(there.program.get_state())
            assert len(scored.results) == len(DATA["valset"])
            # In the bucket, and nowhere else: what the run needs stays there, and nothing else does.
            plugin = DSPExPlugin()
            unused = await plugin.store.put(os.urandom(50))
            then = time.time() - 48 * 3600
            for path in s3.objects.rglob("??/*"):
                os.utime(path, (then, then))
            done = await collect_garbage(client._connection.temporal, plugin.store, plugin.payload_reader())
            left = [artifact async for artifact in plugin.store.stored()]
            assert unused not in {artifact.digest for artifact in left}
            assert len(left) == done.in_use
            again = await Client.connect()
            assert await again.evaluations(run.id).scored_rows(there.program.get_state()) == scored
    assert Trajectory.of(there) == Trajectory.of(here)
    assert not [home for home in ("client", "one", "two") if (machines.home(home) / "artifacts").exists()]


async def test_a_worker_with_wrong_credentials_parks_the_run_and_no_key_is_told(machines, model):
    async with await Client.connect() as client:
        with machines.worker("wrong", AWS_SECRET_ACCESS_KEY="another-secret-than-that"):
            run = await compiled(client, model)
            parked = await until_parked(run)
        assert "ArtifactAccessError" in parked.parked_reason
        assert "rejects the credentials (SignatureDoesNotMatch): give this process" in parked.parked_reason
        history = await client._connection.temporal.get_workflow_handle(run.id).fetch_history()
        for key in (ACCESS_KEY, SECRET_KEY, "another-secret-than-that"):
            assert key not in parked.model_dump_json()
            assert key not in history.to_json()
        with machines.worker("right"):
            await run.resume()
            assert (await run.result()).ended_early is None
    with in_environment({"AWS_SECRET_ACCESS_KEY": "another-secret-than-that"}):
        async with await Client.connect() as client:
            with pytest.raises(ArtifactAccessError, match="rejects the credentials"):
                await compiled(client, model)


async def test_a_run_whose_store_is_away_is_parked_and_goes_on_after_resume(machines, model, s3):
    async with await Client.connect() as client:
        with machines.worker("one", DSPEX_PARK_AFTER_SECONDS="1"):
            run = await compiled(client, model, chunk_rows=4)
            await until_requests(model, 20)
            s3.kill()
            try:
                parked = await until_parked(run)
            finally:
                s3.start()
            assert "the artifact store s3://" in parked.parked_reason
            await run.resume()
            result = await run.result()
    assert result.ended_early is None
    assert result.usage.lm_calls == model.stats().answered == model.stats().distinct


async def test_a_run_whose_programs_are_large_is_parked_as_well_and_goes_on(machines, model, s3):
    # Its activities cannot even be given what they are to do.
    rows = [Example(text=row.text + " and so on" * 300, topic=row.topic).with_inputs("text") for row in VAL]
    async with await Client.connect() as client:
        with machines.worker("one", DSPEX_PARK_AFTER_SECONDS="1"):
            run = await client.compile(
                conformance_program(), optimizer=LabeledFewShot(metric="exact_match", k=16), lm=lm_of(model),
                trainset=rows, valset=VAL, chunk_rows=4,
            )  # fmt: skip
            await until_requests(model, len(VAL) + 6)
            s3.kill()
            try:
                parked = await until_parked(run)
            finally:
                s3.start()
            assert "the artifact store s3://" in parked.parked_reason
            await run.resume()
            assert (await run.result()).ended_early is None
