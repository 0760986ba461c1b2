import asyncio
import contextlib
import json
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from temporalio.envconfig import ClientConnectConfig

from dspex.devserver._lock import FileLock, is_held
from dspex.devserver._probe import why_unusable
from dspex.devserver._server import Say
from dspex_core.errors import ServerSetupError

_HOST = "127.0.0.1"
_USUAL_PORTS = (7233, 8233)
_PROBE_TIMEOUT_SECONDS = 3.0
_START_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.1
_TRIES_OF_PORTS = 3
_TAKEN = "address already in use"

# The server writes its own record and keeps the inherited lock: both hold even if whoever starts it is killed at any
# moment. The outer shell ends at once, so the server is nobody's child and leaves no zombie.
_RECORD_AND_RUN = """
printf '{"pid": %d, "port": %d, "ui_port": %d}\\n' $$ "$1" "$2" > "$0.new" && mv "$0.new" "$0" && shift 2 && exec "$@"
"""
_IN_BACKGROUND = '"$@" &'


@dataclass(frozen=True)
class Record:
    """What server.json says about the dev server that runs, or that ran last."""

    pid: int
    port: int
    ui_port: int

    @property
    def address(self) -> str:
        """Where its gRPC service listens."""
        return f"{_HOST}:{self.port}"

    @property
    def web_ui(self) -> str:
        """Base URL of its Web UI."""
        return f"http://{_HOST}:{self.ui_port}"


@dataclass(frozen=True)
class StateFolder:
    """Where one dev server keeps its state, and the locks by which processes agree about it.

    `start.lock` guards every change of whether the server runs; `users.lock` is shared by those who use it;
    `server.lock` is held by the server process itself.
    """

    path: Path

    @property
    def start_lock(self) -> Path:
        """Held alone while starting or stopping the server, and while joining or leaving its users."""
        return self.path / "start.lock"

    @property
    def users_lock(self) -> Path:
        """Shared by every user of the server."""
        return self.path / "users.lock"

    @property
    def database(self) -> Path:
        """What the server knows; there once it has run."""
        return self.path / "temporal.db"

    @property
    def log(self) -> Path:
        """What the server printed; the log before the last start is beside it as server.log.1."""
        return self.path / "server.log"

    def is_running(self) -> bool:
        """Tell whether the server process lives (it may not answer yet)."""
        return is_held(self._server_lock)

    def record(self) -> Record | None:
        """Read server.json; None if there never was a server or the file is unreadable."""
        try:
            content = cast("dict[str, int]", json.loads(self._record.read_text()))
            return Record(content["pid"], content["port"], content["ui_port"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    async def answering(self) -> Record | None:
        """Give the record of the server if it runs and answers within 3 seconds."""
        record = self.record() if self.is_running() else None
        if record is None or await _why_silent(record):
            return None
        return record

    async def start(self, binary: Path, say: Say, *, ports: tuple[int, int] | None = None) -> Record:
        """Start the server and wait until it answers; call with `start_lock` held and no server running.

        Args:
            binary: The `temporal` command.
            say: Told which ports are used and why.
            ports: gRPC and Web UI port to insist on; None for those of last time, else the usual ones, else free ones.

        Raises:
            ServerSetupError: It did not come up; quotes its log.
        """
        if ports:
            return await self._start_on(ports, binary, say)
        chosen = self._choose_ports(say)
        for _ in range(_TRIES_OF_PORTS - 1):
            try:
                return await self._start_on(chosen, binary, say)
            except ServerSetupError:
                if _TAKEN not in self._logged() and all(_is_free(port) for port in chosen):
                    raise
                say("Another program took one of the ports first, so other ports are used")
                chosen = _free_ports()
        return await self._start_on(chosen, binary, say)

    async def stop(self) -> None:
        """Stop the server, if it runs: SIGTERM, and SIGKILL after 10 seconds; call with `start_lock` held."""
        for kind in (signal.SIGTERM, signal.SIGKILL):
            record = self.record()
            if record is None or not self.is_running():
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(record.pid, kind)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT_SECONDS):
                    while self.is_running():  # noqa: ASYNC110 - another process ends it, no event of ours
                        await asyncio.sleep(_POLL_SECONDS)

    @property
    def _record(self) -> Path:
        return self.path / "server.json"

    @property
    def _server_lock(self) -> Path:
        return self.path / "server.lock"

    def _choose_ports(self, say: Say) -> tuple[int, int]:
        last = self.record()
        wanted = (last.port, last.ui_port) if last else _USUAL_PORTS
        if all(_is_free(port) for port in wanted):
            return wanted
        taken = next(port for port in wanted if not _is_free(port))
        say(
            f"Port {taken} is taken by another program, so other ports are used. If it is a Temporal server that you "
            f"want to use, set TEMPORAL_ADDRESS={_HOST}:{wanted[0]}"
        )
        return _free_ports()

    async def _start_on(self, ports: tuple[int, int], binary: Path, say: Say) -> Record:
        say(f"Starting Temporal's dev server on {_HOST}:{ports[0]} (state and log in {self.path})")
        self._keep_last_log()
        self._record.unlink(missing_ok=True)
        http_port, _ = _free_ports()
        await self._launch(binary, ports, http_port)
        return await self._wait_until_it_answers(http_port)

    def _keep_last_log(self) -> None:
        if self.log.exists():
            self.log.replace(self.log.with_name("server.log.1"))

    async def _launch(self, binary: Path, ports: tuple[int, int], http_port: int) -> None:
        port, ui_port = map(str, ports)
        server = [str(binary), "server", "start-dev", "--ip", _HOST, "--port", port, "--ui-port", ui_port]
        server += [
            "--http-port",
            str(http_port),
            "--db-filename",
            str(self.database),
            "--log-level",
            "error",
        ]
        lock = FileLock(self._server_lock)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            while not lock.try_exclusive():  # noqa: ASYNC110 - another process is looking whether it is held
                await asyncio.sleep(_POLL_SECONDS)
            launcher = await asyncio.create_subprocess_exec(
                *("sh", "-c", _IN_BACKGROUND, "sh"),
                *("sh", "-c", _RECORD_AND_RUN, str(self._record), port, ui_port, *server),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.path,
                pass_fds=[lock.fileno()],
                start_new_session=True,  # Ctrl-C is for the user's run, which then lets go of the server
            )
            await launcher.wait()
        finally:
            os.close(log)
            lock.close()

    async def _wait_until_it_answers(self, http_port: int) -> Record:
        reason: str | None = "it did not come up"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_TIMEOUT_SECONDS):
                while self.is_running():
                    record = self.record()
                    # Only our server has this random HTTP port; on the others another program may have been first.
                    if record and await _accepts(http_port):
                        reason = await _why_silent(record)
                        if not reason:
                            return record
                    await asyncio.sleep(_POLL_SECONDS)
        died = not self.is_running()
        await self.stop()
        what = "ended at once" if died else f"did not answer within {_START_TIMEOUT_SECONDS:g} seconds ({reason})"
        raise ServerSetupError(
            f"Temporal's dev server {what}. It said: {self._last_words()}. Its log is {self.log}; if its state "
            f"is damaged, move {self.database} away (that forgets its runs), or set TEMPORAL_ADDRESS to "
            "another server"
        )

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._logged().splitlines() if line.strip()]
        return " | ".join(lines[-3:])[:1000] or "nothing"

    def _logged(self) -> str:
        try:
            return self.log.read_text(errors="replace")
        except OSError:
            return ""


async def _why_silent(record: Record) -> str | None:
    options = ClientConnectConfig(target_host=record.address, namespace="default")
    return await why_unusable(options, timeout_seconds=_PROBE_TIMEOUT_SECONDS)


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(_HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Go listens: connections that a killed server left behind do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind((_HOST, 0))
        second.bind((_HOST, 0))
        return int(first.getsockname()[1]), int(second.getsockname()[1])
