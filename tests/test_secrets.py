"""The API key stays in the processes that use it: nothing that is kept, sent or said holds it."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import suppress

import pytest
from aiohttp import web

from dspex import Client
from dspex_core.errors import RunNotFoundError
from dspex_core.testing import FakeProviderProcess, conformance_rows

pytestmark = pytest.mark.slow

RUNS = ("plain", "with-faults", "rejected", "quoted")
CHILDREN = ("evaluation-1", "evaluation-2")


class QuotingProvider:
    """A provider that quotes the key in its refusals, as careless proxies do."""

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._refuse)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def __aexit__(self, *exception):
        await self._runner.cleanup()

    async def _refuse(self, request):
        said = f"a bad request, with the header {request.headers['Authorization']}"
        return web.json_response({"error": {"message": said}}, status=400)


async def test_no_history_artifact_log_state_or_output_holds_the_key(platform, tmp_path, monkeypatch):
    key = platform.variables["OPENAI_API_KEY"]
    home = tmp_path / "home"
    own = {"DSPEX_HOME": str(home), "DSPEX_TASK_QUEUE": "secrets", "DSPEX_LOG_LEVEL": "DEBUG"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r.to_dict()) + "\n" for r in conformance_rows(30)))

    def start(name, *arguments):
        with (tmp_path / f"{name}.said").open("wb") as said:
            command = [sys.executable, "-m", "dspex", *arguments]
            return subprocess.Popen(command, stdout=said, stderr=said, cwd=tmp_path, env=os.environ)

    async def compiled(name, api_base, *options):
        task = ("--train", "rows.jsonl", "--input", "text", "--output", "topic", "--lm", "openai/fake")
        command = start(name, "compile", *task, "--api-base", api_base, *options, "-o", f"{name}.json", "--json")
        return await asyncio.to_thread(command.wait, 120)

    worker = start("worker", "worker")
    try:
        async with QuotingProvider() as quoting:
            with (
                FakeProviderProcess(
                    fault_rate=0.2, fault_kinds="429,500,drop,malformed", retry_after_seconds=0.1
                ) as ill,
                FakeProviderProcess(api_key="another-key") as strict,
            ):
                *codes, reason = await asyncio.gather(
                    compiled("plain", platform.provider.base_url, "--id", "plain"),
                    compiled("with-faults", ill.base_url, "--id", "with-faults"),
                    compiled("rejected", strict.base_url, "--id", "rejected"),
                    compiled("quoted", quoting, "--id", "quoted"),
                    compiled("in-process", quoting, "--in-process"),
                    cancelled_once_parked("rejected"),
                )
                assert ill.stats().faults
    finally:
        worker.terminate()
        worker.wait(60)
    assert codes == [0, 0, 1, 1, 1]
    assert "the API key was rejected" in reason
    assert key not in reason

    histories = await histories_of(RUNS)
    kept = {str(path): path.read_bytes() for path in files_in(tmp_path)}
    state = {str(path): path.read_bytes() for path in files_in(platform.state_dir)}
    searched = {**histories, **kept, **state}
    # What does not hold the key must at least hold what was run, or the search looked in the wrong places.
    assert all(b"openai/fake" in content for content in histories.values())
    for part in ("cache/cache.db", "artifacts", "worker.said", "quoted.said", "temporal.db"):
        assert any(part in name and len(content) > 0 for name, content in searched.items()), part
    assert b"[key]" in kept[str(tmp_path / "quoted.said")], "the quoted key was met, and struck out"
    assert b"DEBUG" in kept[str(tmp_path / "worker.said")].upper()
    assert [name for name, content in searched.items() if key.encode() in content] == []


async def cancelled_once_parked(run_id):
    """Why it was parked."""
    async with await Client.connect() as client, asyncio.timeout(100):
        run = client.get_run(run_id)
        while True:
            with suppress(RunNotFoundError):
                if (status := await run.status()).status == "parked":
                    break
            await asyncio.sleep(0.1)
        await run.cancel(hard=True)
        return status.parked_reason


async def histories_of(run_ids):
    found = {}
    async with await Client.connect() as client:
        for run_id in run_ids:
            for workflow_id in (run_id, *(f"{run_id}/{child}" for child in CHILDREN)):
                handle = client._connection.temporal.get_workflow_handle(workflow_id)
                if workflow_id in (f"rejected/{CHILDREN[1]}", f"quoted/{CHILDREN[1]}"):
                    continue
                history = await handle.fetch_history()
                found[workflow_id] = b"".join(event.SerializeToString() for event in history.events)
    return found


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]
