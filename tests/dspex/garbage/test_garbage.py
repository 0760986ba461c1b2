"""What a run or a schedule needs stays in the artifact store; what nothing refers to goes."""

import asyncio
import json
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from dspex.garbage import collect_garbage
from dspex.worker import DSPExPlugin
from dspex_core import LM
from dspex_core.artifacts import ArtifactStore, store_dataset
from dspex_core.optimizers import LabeledFewShot
from dspex_core.record import Example
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

OPTIMIZER = LabeledFewShot(metric="exact_match", k=4)


@pytest.fixture
def folder(platform):
    return Path(platform.variables["DSPEX_HOME"]) / "artifacts"


@pytest.fixture
def store(folder):
    return ArtifactStore(folder.as_uri())


def aged(folder, hours=48):
    """Let everything have been written that long ago."""
    then = time.time() - hours * 3600
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


async def collected(client, **options):
    plugin = DSPExPlugin()
    return await collect_garbage(client._connection.temporal, plugin.store, plugin.payload_reader(), **options)


async def are_there(store, digests):
    return set(digests) <= {artifact.digest async for artifact in store.stored()}


def rows(name, count=24):
    return [Example(text=f"{name}: {row.text}", topic=row.topic).with_inputs("text") for row in conformance_rows(count)]


async def test_a_run_keeps_all_that_it_needs_and_what_nothing_refers_to_is_removed(platform, client, folder, store):
    with FakeProviderProcess() as model:
        given = {"optimizer": OPTIMIZER, "lm": LM("openai/fake", api_base=model.base_url, concurrency=2)}
        ended = await client.compile(
            conformance_program(), trainset=rows("t"), valset=rows("v"), id="garbage-ended", **given
        )
        await ended.result()
        unused = [await store.put(os.urandom(100)) for _ in range(3)]
        unused_rows = await store_dataset(store, rows("never compiled"))
        finished = {path for path in folder.glob("named/*/*/*") if path.is_file()}
        await store.keep(f"{'0' * 64}/of/a-run-that-is-forgotten", b"content")
        # Rows that an earlier run of this id scored, of which the server knows nothing any more.
        scored = await store.put(os.urandom(100))
        found_again = min(finished).parent.relative_to(folder / "named") / "0-0"
        await store.keep(str(found_again), json.dumps({"rows": scored}).encode())
        model.change(latency_ms=300)
        under_way = await client.compile(
            conformance_program(), trainset=rows("t2"), valset=rows("v2"), id="garbage-running", chunk_rows=4, **given
        )
        while model.stats().requests < 30:
            await asyncio.sleep(0.02)
        aged(folder)
        young = await store.put(os.urandom(100))

        told = platform.cli("artifacts", "gc", "--dry-run", "--json")
        assert told.returncode == 0, told.stderr
        planned = json.loads(told.stdout)
        assert await are_there(store, [*unused, unused_rows.digest, young])
        done = await collected(client)
        assert (done.removed, done.removed_bytes) == (planned["removed"], planned["removed_bytes"])
        assert done.removed >= 5
        assert done.removed_bytes > 300
        assert done.young >= 1
        left = {artifact.digest async for artifact in store.stored()}
        assert left.isdisjoint([*unused, unused_rows.digest])
        assert {young, scored} <= left
        assert finished
        assert finished <= set(folder.glob("named/*/*/*"))
        assert await store.names("0" * 64) == []
        assert (await collected(client)).removed == 0

        model.change(latency_ms=0)
        result = await under_way.result()
    assert result.score > 0
    # All of both runs can still be read: programs, and what became of each row.
    for run_id, found in (("garbage-ended", await ended.result()), ("garbage-running", result)):
        assert len((await client.evaluations(run_id).scored_rows(found.program.get_state())).results) == 24


async def test_rows_that_only_a_schedule_needs_stay_until_it_is_deleted(platform, client, folder, store):
    given = {"optimizer": OPTIMIZER, "lm": platform.lm(), "every": timedelta(days=1)}
    needed = [await store_dataset(store, rows(name)) for name in ("only scheduled", "scheduled to score")]
    digests = [dataset.digest for dataset in needed]
    schedule = await client.schedule(
        conformance_program(), id="garbage", trainset=rows("only scheduled"), valset=rows("scheduled to score"), **given
    )
    try:
        while "garbage" not in [found.id for found in await client.list_schedules()]:
            await asyncio.sleep(0.05)
        aged(folder)
        await collected(client)
        assert await are_there(store, digests)
    finally:
        await schedule.delete()
    while "garbage" in [found.id for found in await client.list_schedules()]:
        await asyncio.sleep(0.05)
    assert (await collected(client)).removed >= 4
    assert not await are_there(store, digests)


async def test_nothing_is_removed_where_the_server_does_not_answer(platform, folder, store):
    unused = await store.put(os.urandom(100))
    aged(folder)
    done = platform.cli("artifacts", "gc", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "127.0.0.1:1" in done.stderr
    assert await are_there(store, [unused])


async def test_the_store_that_the_dev_servers_runs_use_is_not_collected_by_another_servers(platform, tmp_path):
    (tmp_path / "dev-server").mkdir()
    (tmp_path / "dev-server" / "temporal.db").touch()
    store = ArtifactStore((tmp_path / "artifacts").as_uri())
    needed = await store.put(os.urandom(100))
    aged(tmp_path / "artifacts")
    done = platform.cli("artifacts", "gc", DSPEX_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "set DSPEX_ARTIFACTS to the store of this server's runs alone" in done.stderr
    assert await are_there(store, [needed])
    assert platform.cli("artifacts", "gc", DSPEX_HOME=str(tmp_path), DSPEX_ARTIFACTS=store._url).returncode == 0
    assert not await are_there(store, [needed])
