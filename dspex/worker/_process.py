import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

from dspex.devserver import Server
from dspex.worker._options import WorkerOptions
from dspex_core.errors import ConfigurationError, DSPExError

READY = "worker ready"
_STOP_SECONDS = 30.0
_BETWEEN_STARTS_SECONDS = 2.0
_LAST_WORDS_SECONDS = 5.0


class WorkerProcess:
    """A worker in a process of its own, kept up while the `async with` block runs.

    It ends with this process, even if that is killed: it watches its standard input.

    Args:
        server: Where the runs are.
        trust: Packages that programs and metrics may be imported from.
        trust_api_base: Addresses that keys may be sent to; see `DSPExPlugin`.
        options: What part it takes in a fleet; by default it does everything.
        say: Told each line that the worker says.

    Raises:
        DSPExError: On entering, if the worker ends before it is ready; quotes what it said.
    """

    def __init__(
        self,
        server: Server,
        *,
        trust: Collection[str] = (),
        trust_api_base: Collection[str] = (),
        options: WorkerOptions | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._server = server
        self._trust = trust
        self._trust_api_base = trust_api_base
        self._options = options or WorkerOptions()
        self._say: Callable[[str], None] = say or _silent
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Process id of the worker that runs now."""
        if self._process is None:
            raise ConfigurationError("the worker is not running")
        return self._process.pid

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL); another is started."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def __aenter__(self) -> Self:
        await self._start()
        self._keeping = asyncio.create_task(self._keep_up())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        await self._stop()

    async def _start(self) -> None:
        environment = dict(os.environ)
        environment.pop("DSPEX_METRICS_PORT", None)  # a port is one process's: the options have this one's
        if self._server.origin == "dev server":
            # Keys and certificates of a configured server are neither the dev server's business nor to its liking.
            environment = {name: value for name, value in environment.items() if not name.startswith("TEMPORAL_")}
            environment["TEMPORAL_CONFIG_FILE"] = os.devnull
        environment |= {"TEMPORAL_ADDRESS": self._server.address, "TEMPORAL_NAMESPACE": self._server.namespace}
        trusted = [argument for package in self._trust for argument in ("--trust", package)]
        trusted += [argument for address in self._trust_api_base for argument in ("--trust-api-base", address)]
        trusted += self._options.arguments()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "dspex", "worker", "--with-parent", *trusted),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            # A terminal's Ctrl-C is for whoever started this worker: it decides when the worker stops.
            start_new_session=True,
        )
        said = await self._until_ready()
        if said is not None:
            raise DSPExError(f"the worker did not start: {said or 'it ended without a word'}")
        self._reading = asyncio.create_task(self._read_on())

    async def _until_ready(self) -> str | None:
        """None once it is ready, or what it said before it ended."""
        assert self._process is not None and self._process.stderr is not None  # noqa: S101, PT018 - a pipe was asked for
        said: list[str] = []
        async for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip()
            self._say(line)
            if READY in line:
                return None
            said.append(line)
        return " ".join(said[-5:])

    async def _read_on(self) -> None:
        if self._process is not None and self._process.stderr is not None:
            async for raw in self._process.stderr:
                self._say(raw.decode(errors="replace").rstrip())

    async def _keep_up(self) -> None:
        while self._process is not None:
            await self._process.wait()
            self._say(f"the worker ended ({self._process.returncode}); starting another")
            try:
                await self._start()
            # A machine may be out of memory or of processes for a while.
            except (DSPExError, OSError) as error:
                self._say(str(error))
                await asyncio.sleep(_BETWEEN_STARTS_SECONDS)

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reading is not None:
            # A process that it left behind may hold its end of the pipe.
            await asyncio.wait([self._reading], timeout=_LAST_WORDS_SECONDS)
            self._reading.cancel()


def _silent(line: str) -> None:
    del line
