"""With DSPEX_ENCRYPTION_KEY set, neither the Temporal server nor the artifact store holds anything readable."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import uuid
from contextlib import contextmanager
from dataclasses import replace

import aiohttp
import pytest
from real_parts import USER_CODE, own_namespace

from dspex import Client
from dspex_core import LM, Example, Predict
from dspex_core.errors import EncryptionError, RunFailedError
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

OLD = f"old:{base64.b64encode(bytes(range(32))).decode()}"
NEW = f"new:{base64.b64encode(bytes(range(32, 64))).decode()}"
SECRET = "the-secret-text-of-a-row"
ROWS = [Example(text=f"{SECRET} {row.text}", topic=row.topic).with_inputs("text") for row in conformance_rows(24)]


@pytest.fixture(scope="module")
def sealed_namespace(background, shared_platform):
    """Tests of other files list all runs, and could not read these."""
    return background.call(own_namespace(shared_platform.server.address))


@pytest.fixture
def encrypted(platform, sealed_namespace, tmp_path, monkeypatch):
    """A task queue of one's own, so that no other worker takes what this test's lacks keys for."""
    monkeypatch.setattr(platform, "server", replace(platform.server, namespace=sealed_namespace))
    variables = {
        "TEMPORAL_NAMESPACE": sealed_namespace,
        "DSPEX_HOME": str(tmp_path / "home"),
        "DSPEX_TASK_QUEUE": f"encrypted-{uuid.uuid4().hex[:8]}",
        "DSPEX_ENCRYPTION_KEY": OLD,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(platform, "variables", platform.variables | variables)
    return platform


@contextmanager
def keys(platform, value):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(platform.variables, "DSPEX_ENCRYPTION_KEY", value)
        patch.setenv("DSPEX_ENCRYPTION_KEY", value)
        yield


async def compiled(client, platform, run_id):
    optimizer = BootstrapFewShot(metric="exact_match")
    lm = platform.lm()
    return await client.compile(
        conformance_program(), optimizer=optimizer, trainset=ROWS, valset=ROWS, lm=lm, id=run_id
    )


async def raw_history(client, workflow_id):
    """What the server has, as it has it."""
    history = await client._connection.temporal.get_workflow_handle(workflow_id).fetch_history()
    return b"".join(event.SerializeToString() for event in history.events)


async def test_neither_server_nor_store_holds_a_row_a_prompt_or_a_summary(encrypted, tmp_path):
    with encrypted.worker():
        async with await Client.connect() as client:
            run = await compiled(client, encrypted, "sealed")
            assert (await run.result()).score > 90
            signature = Predict("text -> topic")
            await client.run_program(signature, inputs={"text": SECRET}, lm=encrypted.lm(), id="asked")
            histories = [await raw_history(client, found) for found in ("sealed", "sealed/evaluation-1", "asked")]
    assert all(b"binary/encrypted" in history for history in histories)
    for word in (SECRET, "openai/fake", "rows to learn from", "LM calls"):
        assert not any(word.encode() in history for history in histories), word
    state = [path for path in encrypted.state_dir.rglob("*") if path.is_file()]
    artifacts = [path for path in (tmp_path / "home" / "artifacts").rglob("*") if path.is_file()]
    assert len(state) > 0
    assert len(artifacts) > 4
    assert [path for path in (*state, *artifacts) if SECRET.encode() in path.read_bytes()] == []


async def test_reasons_of_failures_are_encrypted_too_and_read_by_who_has_the_key(encrypted, monkeypatch):
    monkeypatch.syspath_prepend(USER_CODE)
    bug = "a bug in the user's metric"
    with encrypted.worker():
        async with await Client.connect() as client:
            given = {"metric": "shop_app:broken", "lm": encrypted.lm(), "id": "sealed-failing"}
            with pytest.raises(RunFailedError, match=bug):
                await client.evaluate(conformance_program(), conformance_rows(4), **given)
            assert bug.encode() not in await raw_history(client, "sealed-failing")
            status = await client.get_run("sealed-failing").status()
            assert bug in status.failure
    with keys(encrypted, ""):
        async with await Client.connect() as client:
            status = await client.get_run("sealed-failing").status()
            assert "the reason is encrypted" in status.failure
            assert "DSPEX_ENCRYPTION_KEY" in status.failure


async def test_keys_are_changed_without_losing_a_run(encrypted):
    async with await Client.connect() as client:
        run = await compiled(client, encrypted, "rotated")
    with keys(encrypted, f"{NEW},{OLD}"), encrypted.worker():
        async with await Client.connect() as client:
            result = await client.get_run(run.id).result()
            assert result.score > 90
            history = await raw_history(client, "rotated")
            assert b"old" in history, "it was started with the old key"
            assert b"new" in history, "and ended with the new one"
    with keys(encrypted, OLD):
        async with await Client.connect() as client:
            with pytest.raises(EncryptionError, match="encrypted with the key 'new'"):
                await client.get_run(run.id).result()


@pytest.mark.parametrize(
    ("worker_has", "said"), [("", "DSPEX_ENCRYPTION_KEY is not set here"), (NEW, "has only 'new' here")]
)
async def test_a_run_that_no_worker_here_can_read_ends_at_once_and_says_why(encrypted, worker_has, said):
    with keys(encrypted, worker_has), encrypted.worker(), keys(encrypted, OLD):
        async with await Client.connect() as client:
            run = await compiled(client, encrypted, f"unread-{uuid.uuid4().hex[:6]}")
            with pytest.raises(RunFailedError, match="encrypted with the key 'old'") as caught:
                await run.result()
    assert said in str(caught.value)


async def test_a_run_under_way_waits_for_a_worker_with_the_key(encrypted):
    with FakeProviderProcess(latency_ms=150) as slow:
        lm = LM("openai/fake", api_base=slow.base_url, concurrency=4)
        async with await Client.connect() as client:
            with encrypted.worker():
                optimizer = BootstrapFewShot(metric="exact_match")
                run = await client.compile(
                    conformance_program(), optimizer=optimizer, trainset=ROWS, valset=ROWS, lm=lm, id="under-way"
                )
                await until(lambda: slow.stats().requests > 8)
            with keys(encrypted, NEW), encrypted.worker():
                status = await until(lambda: noted(run, "encrypted with the key 'old'"))
                assert status.status == "running"
                assert "has only 'new' here" in status.note
            with encrypted.worker():
                assert (await run.result()).score > 90
        assert slow.stats().duplicates <= 4, "only those in flight as the worker stopped"


async def noted(run, text):
    status = await run.status()
    return status if text in (status.note or "") else None


async def until(condition, seconds=60):
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if isinstance(found, bool):
                if found:
                    return True
            elif (found := await found) is not None:
                return found
            await asyncio.sleep(0.05)


async def test_without_a_key_a_client_is_told_which_one_it_lacks(encrypted):
    with encrypted.worker():
        async with await Client.connect() as client:
            await (await compiled(client, encrypted, "closed-book")).result()
        done = encrypted.cli("runs", "show", "closed-book", "--json", DSPEX_ENCRYPTION_KEY="")
        assert done.returncode == 2
        assert "encrypted with the key 'old', and DSPEX_ENCRYPTION_KEY is not set here" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["worker"], ["runs", "list"], ["codec-server", "--port", "0"]])
def test_a_passphrase_is_refused_by_every_command_in_one_line(encrypted, command):
    done = encrypted.cli(*command, DSPEX_ENCRYPTION_KEY="correct horse battery staple")
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 2
    assert "openssl rand -base64 32" in done.stderr
    assert "horse" not in done.stderr


async def test_the_codec_server_of_the_command_line_reads_a_history(encrypted):
    with encrypted.worker():
        async with await Client.connect() as client:
            await (await compiled(client, encrypted, "shown")).result()
            history = await client._connection.temporal.get_workflow_handle("shown").fetch_history()
    started = history.events[0].workflow_execution_started_event_attributes.input.payloads[0]
    command = [sys.executable, "-m", "dspex", "codec-server", "--port", "0", "--allow-origin", "http://ui.example"]
    with subprocess.Popen(command, env={**os.environ}, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = process.stderr.readline().split()[-1]
            metadata = {name: base64.b64encode(value).decode() for name, value in started.metadata.items()}
            body = {"payloads": [{"metadata": metadata, "data": base64.b64encode(started.data).decode()}]}
            headers = {"Origin": "http://ui.example"}
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{url}/decode", json=body, headers=headers) as answer,
            ):
                [payload] = (await answer.json())["payloads"]
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.stderr.read()
    assert json.loads(base64.b64decode(payload["data"]))["optimizer"] == "bootstrap_few_shot"
    assert process.returncode == 0
    assert "codec server stopped" in said
