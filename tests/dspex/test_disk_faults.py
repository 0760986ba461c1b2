"""What fails on a disk in the middle of a run is said and parked, and never becomes another result."""

import asyncio
import resource
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest
from real_parts import in_environment, until_parked

from dspex import Client
from dspex.worker import WorkerProcess
from dspex_core import LM, using
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.testing import FakeProviderProcess, Trajectory, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

OPTIMIZER = BootstrapFewShot(metric="exact_match", seed=3)
DATA = {"trainset": conformance_rows(16), "valset": conformance_rows(24, start=16)}
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@pytest.fixture(scope="module")
def undisturbed(background, tmp_path_factory):
    """What a compile finds when nothing fails, and the calls it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with in_environment({"DSPEX_HOME": str(folder), "OPENAI_API_KEY": "none"}), FakeProviderProcess() as provider:
        found = background.call(compiled_here(LM("openai/fake", api_base=provider.base_url)))
        return Trajectory.of(found), provider.stats().requests


async def compiled_here(lm):
    try:
        with using(lm=lm):
            return await OPTIMIZER.compile(conformance_program(), **DATA)
    finally:
        await lm.close()


class Machine:
    """A worker with a folder of its own, on the shared server, and a model that it calls."""

    def __init__(self, platform, folder, model):
        self._platform, self.home, self.model = platform, folder, model
        self.variables = platform.variables | {
            "DSPEX_HOME": str(folder),
            "DSPEX_TASK_QUEUE": f"disk-{uuid.uuid4().hex[:8]}",
            "DSPEX_PARK_AFTER_SECONDS": "1",
        }

    @property
    def artifacts(self):
        return self.home / "artifacts"

    @contextmanager
    def worker(self):
        process = WorkerProcess(self._platform.server, say=print)
        with in_environment(self.variables), self._platform.background.running(process):
            yield process

    async def compile(self, client):
        lm = LM("openai/fake", api_base=self.model.base_url, concurrency=4)
        return await client.compile(conformance_program(), optimizer=OPTIMIZER, lm=lm, chunk_rows=4, **DATA)

    async def until_requests(self, count):
        while (await asyncio.to_thread(self.model.stats)).requests < count:
            await asyncio.sleep(0.02)

    def block(self, text):
        """The file of the artifact that holds this text."""
        return next(path for path in self.artifacts.rglob("*") if path.is_file() and text in path.read_bytes())


@pytest.fixture
def machine(platform, tmp_path, monkeypatch):
    with FakeProviderProcess(latency_ms=50) as model:
        made = Machine(platform, tmp_path, model)
        for name, value in made.variables.items():
            monkeypatch.setenv(name, value)
        yield made


async def test_a_full_disk_parks_the_run_without_paying_again_and_again_and_it_goes_on_when_there_is_room(
    machine, undisturbed
):
    expected, calls = undisturbed
    async with await Client.connect() as client:
        with machine.worker() as worker:
            run = await machine.compile(client)
            await machine.until_requests(calls * 0.3)
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            parked = await until_parked(run)
            assert "cannot write to the artifact store file://" in parked.parked_reason
            # Chunks were tried three times and more; what each of them had asked for was paid for twice at most.
            assert machine.model.stats().requests <= 2 * calls
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, UNLIMITED)
            await run.resume()
            assert Trajectory.of(await run.result()) == expected


async def test_a_cache_that_is_deleted_on_the_way_changes_nothing(machine, undisturbed):
    expected, calls = undisturbed
    async with await Client.connect() as client:
        with machine.worker():
            run = await machine.compile(client)
            await machine.until_requests(calls * 0.5)
            shutil.rmtree(machine.home / "cache")
            assert Trajectory.of(await run.result()) == expected
    assert machine.model.stats().requests <= calls + 4


@pytest.mark.parametrize("fault", ["deleted", "altered"])
async def test_rows_that_are_lost_or_altered_park_the_run_until_they_are_put_back(machine, undisturbed, fault):
    expected, calls = undisturbed
    async with await Client.connect() as client:
        run = await machine.compile(client)
        block = machine.block(DATA["valset"][0].text.encode())
        content = block.read_bytes()
        if fault == "deleted":
            block.unlink()
        else:
            # Still rows as they should be, but for one label.
            block.write_bytes(content.replace(DATA["valset"][0].topic.encode(), DATA["valset"][1].topic.encode(), 1))
        with machine.worker():
            parked = await until_parked(run)
            assert "ArtifactMissingError" in parked.parked_reason
            said = "has been altered" if fault == "altered" else "is not in file://"
            assert f"artifact {Path(block).name}" in parked.parked_reason
            assert said in parked.parked_reason
            block.write_bytes(content)
            await run.resume()
            assert Trajectory.of(await run.result()) == expected
    assert machine.model.stats().requests == calls
