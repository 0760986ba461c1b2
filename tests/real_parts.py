"""Real parts for tests of durable runs: a Temporal dev server, a fake provider, workers in processes of their own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from dspex import settings
from dspex.devserver import Server, dev_server, find_temporal_binary
from dspex.worker import WorkerProcess
from dspex_core import LM
from dspex_core.testing import FakeProviderProcess

API_KEY = "sk-known-secret-of-the-tests"
USER_CODE = Path(__file__).parent / "user_code"
USERS_HOME = settings.home()
"""Where the temporal command is cached: a built one is worth keeping between runs of the tests."""


class Background:
    """An event loop in a thread, on which servers and workers live while tests have loops of their own."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._stacks = []
        return self

    def __exit__(self, *exception):
        for stack in reversed(self._stacks):
            self.call(stack.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    @contextmanager
    def running(self, manager):
        stack = AsyncExitStack()
        value = self.call(stack.enter_async_context(manager))
        try:
            yield value
        finally:
            self.call(stack.aclose())


@dataclass
class Platform:
    """Everything a durable run needs, each part real, and the environment that points to it."""

    background: Background
    home: Path
    server: Server
    provider: FakeProviderProcess
    state_dir: Path
    variables: dict[str, str] = field(default_factory=dict)

    def lm(self, **options):
        return LM("openai/fake", api_base=self.provider.base_url, **options)

    @contextmanager
    def worker(self, *, trust=("shop_app",)):
        with in_environment(self.variables):
            manager = WorkerProcess(self.server, trust=trust, say=print)
            with self.background.running(manager) as worker:
                yield worker

    def cli(self, *arguments, timeout=120, **variables):
        """Run the command line as a user would; gives the finished process."""
        command = [sys.executable, "-m", "dspex", *map(str, arguments)]
        environment = {**os.environ, **self.variables, **variables}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, env=environment, cwd=self.home
        )


async def temporals_command(platform, *arguments):
    """What `temporal workflow` answers to these arguments: its exit code, and JSON or what it complains of."""
    binary = await find_temporal_binary(print, home=USERS_HOME)
    process = await asyncio.create_subprocess_exec(
        *(binary, "workflow", *arguments, "--address", platform.server.address, "--output", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, json.loads(out) if process.returncode == 0 else err.decode()


async def own_namespace(address):
    """A namespace in which no other test has run anything; its name."""
    name = f"tests-{uuid.uuid4().hex[:8]}"
    temporal = await Client.connect(address)
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(86400)
    await temporal.workflow_service.register_namespace(request)
    async with asyncio.timeout(60):
        while not await is_known(temporal, name):
            await asyncio.sleep(0.1)
    return name


async def is_known(temporal, namespace):
    """Whether all parts of the server have learnt of a namespace."""
    try:
        await temporal.workflow_service.list_workflow_executions(ListWorkflowExecutionsRequest(namespace=namespace))
    except RPCError:
        return False
    return True


async def until_parked(run):
    """Where the run stands once it waits for a person."""
    async with asyncio.timeout(60):
        while (status := await run.status()).status != "parked":
            assert status.status in ("queued", "running"), status
            await asyncio.sleep(0.05)
        return status


class HeldProvider(FakeProviderProcess):
    """A model that a test can hold, so that nothing goes on that needs it for as long as the test wants."""

    def hold(self):
        self._process.send_signal(signal.SIGSTOP)

    def let_go(self):
        self._process.send_signal(signal.SIGCONT)

    def stop(self):
        self.let_go()
        super().stop()

    async def until_requests(self, count):
        async with asyncio.timeout(90):
            while (await asyncio.to_thread(self.stats)).requests < count:
                await asyncio.sleep(0.02)


@contextmanager
def in_environment(variables):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@contextmanager
def own_platform(background, folder, **provider):
    """A platform of one's own: its server may be killed. No stray worker of another test run can take its tasks."""
    home = folder / "home"
    home.mkdir(parents=True)
    state_dir = folder / "dev-server"
    with ExitStack() as stack:
        server = stack.enter_context(background.running(dev_server(print, state_dir=state_dir, binary_home=USERS_HOME)))
        model = stack.enter_context(FakeProviderProcess(**provider))
        platform = Platform(background, home, server, model, state_dir)
        platform.variables = {
            "DSPEX_HOME": str(home),
            "DSPEX_TASK_QUEUE": f"tests-{uuid.uuid4().hex[:8]}",
            "OPENAI_API_KEY": API_KEY,
            "TEMPORAL_ADDRESS": server.address,
            "TEMPORAL_NAMESPACE": server.namespace,
            "TEMPORAL_CONFIG_FILE": str(home / "no-profiles.toml"),
            # The code under test, and not another checkout that happens to be installed.
            "PYTHONPATH": os.pathsep.join([str(USER_CODE), str(USER_CODE.parents[1])]),
        }
        yield platform
