import os
import signal
import sys
import threading
from contextlib import AsyncExitStack
from dataclasses import replace

from dspex.cli._logging import configure_logging, events_logger, log_types
from dspex.cli._shell import say, until_told_to_stop
from dspex.devserver import Server, configured_server, running_dev_server
from dspex.worker import WorkerOptions, WorkerProcess, run_worker
from dspex_core.errors import ServerUnavailableError
from dspex_core.lm import PRESETS
from dspex_core.telemetry import to_structlog


async def work_on_runs(
    *,
    trust: list[str],
    trust_api_base: list[str],
    options: WorkerOptions | None = None,
    processes: int = 1,
    with_parent: bool = False,
) -> None:
    """Work until told to stop, in this process or in several; each of several has a port of its own for its metrics.

    Raises:
        ServerUnavailableError: If there is no server to work for.
        ConfigurationError: If an address is none.
    """
    configure_logging()
    if with_parent:
        _stop_with_parent()
    server = await server_in_use()
    works = options is None or options.role != "workflow"
    if works and not any(os.environ.get(preset.key_variable) for preset in PRESETS.values()):
        variable = PRESETS["openai"].key_variable
        say(f"no {variable} is set here: this worker cannot call openai/… models; set it and start the worker again")
    if processes == 1:
        with to_structlog(events_logger(), types=log_types()):
            await run_worker(server, trust=trust, trust_api_base=trust_api_base, options=options, say=say)
        return
    options = options or WorkerOptions()
    first_port = options.metrics_port
    async with AsyncExitStack() as stack:
        for number in range(1, processes + 1):
            worker = WorkerProcess(
                server,
                trust=trust,
                trust_api_base=trust_api_base,
                options=options if first_port is None else replace(options, metrics_port=first_port + number - 1),
                say=lambda line, number=number: say(f"[{number}] {line}"),
            )
            await stack.enter_async_context(worker)
        await until_told_to_stop()


async def server_in_use() -> Server:
    """The server that is configured, or the dev server that is running.

    Raises:
        ServerUnavailableError: If there is neither.
    """
    server = await configured_server() or await running_dev_server()
    if server is None:
        raise ServerUnavailableError(
            "no Temporal server: set TEMPORAL_ADDRESS to one, or start a dev server with `dspex up`"
        )
    return server


def _stop_with_parent() -> None:
    """End this process when its parent goes: the pipe on standard input then closes."""

    def wait() -> None:
        # Not through sys.stdin: a thread that waits in its buffer breaks the interpreter's own ending.
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
