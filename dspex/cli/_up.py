from dspex.cli._shell import say, until_told_to_stop
from dspex.devserver import server
from dspex.worker import WorkerProcess


async def run_up(*, trust: list[str], trust_api_base: list[str]) -> None:
    """Run the server (unless one is configured) and a worker until told to stop."""
    async with server(say) as found, WorkerProcess(found, trust=trust, trust_api_base=trust_api_base, say=say):
        say(f"Temporal server  {found.address}")
        if found.web_ui:
            say(f"Web UI           {found.web_ui}")
        say("in another terminal: dspex compile …, dspex runs list; Ctrl-C here ends server and worker, runs are kept")
        await until_told_to_stop()
        say("stopping the worker, then the server")
