import asyncio
from contextlib import AsyncExitStack

from dspex.cli._shell import say, until_told_to_stop
from dspex.client import Client
from dspex.dashboard import DEFAULT_HOST, DEFAULT_PORT, dashboard, dashboard_installed
from dspex.devserver import Server, server
from dspex.worker import WorkerProcess


async def run_up(*, trust: list[str], trust_api_base: list[str]) -> None:
    """Run the server (unless one is configured), a worker and the dashboard until told to stop."""
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(server(say))
        await stack.enter_async_context(WorkerProcess(found, trust=trust, trust_api_base=trust_api_base, say=say))
        say(f"Temporal server  {found.address}")
        if found.web_ui:
            say(f"Web UI           {found.web_ui}")
        await _with_dashboard(stack, found)
        say("in another terminal: dspex compile …, dspex runs list; Ctrl-C here ends server and worker, runs are kept")
        await until_told_to_stop()
        say("stopping the worker, then the server")


async def _with_dashboard(stack: AsyncExitStack, found: Server) -> None:
    """Serve the dashboard beside the rest, on any port if its own is taken."""
    if not dashboard_installed():
        say("dashboard        not installed: pip install 'dspex[dashboard]'")
        return
    client = await stack.enter_async_context(await Client.connect(found))
    port = DEFAULT_PORT if await _is_free(DEFAULT_PORT) else 0
    say(f"dashboard        {await stack.enter_async_context(dashboard(client, port=port))}")


async def _is_free(port: int) -> bool:
    try:
        listener = await asyncio.start_server(lambda _reader, _writer: None, DEFAULT_HOST, port)
    except OSError:
        return False
    listener.close()
    return True
