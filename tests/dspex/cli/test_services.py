"""Commands that run until told to stop, and the one that says what is there."""

import asyncio
import json
import signal
import urllib.request
from pathlib import Path

import pytest

from dspex_core.testing import conformance_rows

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[3]


async def test_a_fake_provider_announces_itself_and_stops_in_order(dspex):
    command = await dspex.start("fake-provider", "--port", "0", "--latency-ms", "5")
    line = (await command.process.stdout.readline()).decode()
    address = line.removeprefix("listening on ").strip().removesuffix("/v1")

    def stats():
        with urllib.request.urlopen(f"{address}/stats", timeout=10) as response:  # noqa: S310 - http, ours
            return json.load(response)

    assert (await asyncio.to_thread(stats))["requests"] == 0
    command.tell()
    done = await command.end()
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_told_to_stop_ends_in_order(dspex, number):
    module = ("-m", "dspex") if number == signal.SIGTERM else (str(CHECKOUT / "worker.py"),)
    arguments = ("worker",) if number == signal.SIGTERM else ()
    command = await dspex.start(*arguments, "--trust", "shop_app", module=module, DSPEX_TASK_QUEUE="stopped")
    await command.until_said("worker ready: task queue stopped")
    command.tell(number)
    done = await command.end()
    assert done.code == 0, done.err
    assert done.lines[-1] == "worker stopped"
    assert "Traceback" not in done.err


async def test_several_worker_processes_share_a_queue_and_stop_together(dspex, model, folder):
    rows = [json.dumps(row.to_dict()) + "\n" for row in conformance_rows(60)]
    (folder / "shared.jsonl").write_text("".join(rows))
    queue = {"DSPEX_TASK_QUEUE": "shared-by-two"}
    command = await dspex.start("worker", "--processes", "2", **queue)
    await command.until_said("[1] worker ready", "[2] worker ready")
    task = ("--train", "shared.jsonl", "--input", "text", "--output", "topic")
    done = await dspex("compile", *task, *model, "--json", **queue)
    assert done.code == 0, done.err
    assert "no worker polls" not in done.err
    command.tell()
    done = await command.end()
    assert done.code == 0, done.err
    assert {"[1] worker stopped", "[2] worker stopped"} <= {*done.lines}
    assert "Traceback" not in done.err


async def test_up_runs_server_and_worker_until_told_to_stop(dspex, tmp_path, users_home):
    (tmp_path / "bin").symlink_to(users_home / "bin")
    alone = {"TEMPORAL_ADDRESS": None, "TEMPORAL_NAMESPACE": None, "DSPEX_HOME": str(tmp_path)}
    command = await dspex.start("up", **alone)
    await command.until_said("in another terminal")
    listed, doctor = await asyncio.gather(dspex("runs", "list", "--json", **alone), dspex("doctor", "--json", **alone))
    assert listed.document == []
    found = {finding["what"]: finding for finding in doctor.document["findings"]}
    assert "dev server" in found["Temporal server"]["found"]
    assert found["worker"]["ok"]
    command.tell(signal.SIGINT)
    done = await command.end()
    assert done.code == 0, done.err
    assert "Traceback" not in done.err


async def test_the_doctor_says_what_is_there_and_never_the_key(dspex):
    well, ill, for_people = await asyncio.gather(
        dspex("doctor", "--json"),
        dspex(
            *("doctor", "--json"),
            OPENAI_API_KEY=None,
            TEMPORAL_ADDRESS="127.0.0.1:1",
            DSPEX_TRUSTED_API_BASES="https://user@models.example",
        ),
        dspex("doctor"),
    )
    assert well.document["ok"] is True
    found = {finding["what"]: finding for finding in well.document["findings"]}
    assert dspex.variables["TEMPORAL_ADDRESS"] in found["Temporal server"]["found"]
    assert found["OPENAI_API_KEY"]["found"] == "set"
    assert dspex.variables["OPENAI_API_KEY"] not in well.out + for_people.out
    assert ill.document["ok"] is False
    found = {finding["what"]: finding for finding in ill.document["findings"]}
    assert found["Temporal server"]["ok"] is False
    assert found["OPENAI_API_KEY"]["advice"]
    assert "cannot be trusted" in found["trusted addresses"]["found"]
    assert [done.code for done in (well, ill, for_people)] == [0, 1, 0]
    assert "Temporal server" in for_people.out
