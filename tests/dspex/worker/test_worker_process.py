import asyncio
import os
import select
import signal
import subprocess
import sys

import pytest

from dspex.worker import WorkerProcess

pytestmark = pytest.mark.slow

HOLDER = """
import asyncio
from dspex.devserver import Server
from dspex.worker import WorkerProcess

async def hold():
    server = Server({address!r}, "default", None, origin="configured", started=False)
    async with WorkerProcess(server) as worker:
        print(worker.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_the_process_that_started_it_however_that_ends(platform, number):
    variables = {**os.environ, "DSPEX_TASK_QUEUE": "held"}
    script = HOLDER.format(address=platform.server.address)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=variables) as holder:
        worker = os.pidfd_open(int(holder.stdout.readline()))
        try:
            holder.send_signal(number)
            ended, _, _ = select.select([worker], [], [], 30)
            if not ended:
                signal.pidfd_send_signal(worker, signal.SIGKILL)
            assert ended, "the worker lives on without its parent"
        finally:
            os.close(worker)


async def test_a_worker_that_cannot_be_started_for_a_while_is_back_once_it_can(platform, monkeypatch):
    said = asyncio.Queue()

    async def heard(words):
        async with asyncio.timeout(60):
            while words not in await said.get():
                pass

    async with WorkerProcess(platform.server, say=said.put_nowait) as worker:
        await heard("worker ready")
        before = worker.pid
        with monkeypatch.context() as machine:
            machine.setattr(sys, "executable", "/no/such/python")
            worker.kill()
            await heard("/no/such/python")
        await heard("worker ready")
        assert worker.pid != before
