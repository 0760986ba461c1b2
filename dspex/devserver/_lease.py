import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from dspex import settings
from dspex.devserver._binary import find_temporal_binary
from dspex.devserver._configured import configured_server
from dspex.devserver._lock import FileLock, exclusive
from dspex.devserver._process import Record, StateFolder
from dspex.devserver._server import Say, Server
from dspex_core.errors import DSPExError

_LOOK_EVERY_SECONDS = 0.5
_RESTARTS = 5
_RESTARTS_WITHIN_SECONDS = 60.0
_WAITING = "Waiting for another process that is starting or stopping Temporal's dev server"


@asynccontextmanager
async def server(say: Say) -> AsyncGenerator[Server]:
    """Provide a Temporal server: the configured one, else the dev server that runs, else one that is started.

    Args:
        say: Told in one line each what is done and what went wrong.

    Raises:
        ServerUnavailableError: One is configured, but does not answer.
        ServerSetupError: There is none, and none can be had or started; says what was tried and what to do.
        ConfigurationError: The Temporal settings or DSPEX_HOME cannot be used.
    """
    configured = await configured_server()
    if configured:
        say(f"Using the Temporal server at {configured.address}, namespace {configured.namespace}")
        yield configured
        return
    async with dev_server(say) as started:
        yield started


@asynccontextmanager
async def dev_server(
    say: Say, *, state_dir: Path | None = None, binary_home: Path | None = None
) -> AsyncGenerator[Server]:
    """Provide the dev server of a state folder, whatever TEMPORAL_ADDRESS says; start it unless it runs already.

    It runs until its last user, in whichever process, leaves; a user that is killed leaves it up for the next one.
    While it is in use, it is started again on the same ports and state within about a second of dying, at most 5 times
    a minute.

    Args:
        say: Told in one line each what is done and what went wrong, also while the server is in use.
        state_dir: Where its state, log and locks lie, instead of `dev-server` in DSPEX_HOME.
        binary_home: The folder whose `bin` caches the `temporal` command, instead of DSPEX_HOME.

    Raises:
        ServerSetupError: No `temporal` command can be had, or the server does not start.
        ConfigurationError: DSPEX_HOME cannot be used.
    """
    use = _Use(_state(state_dir), say, binary_home)
    record, started = await use.join()
    watch = asyncio.create_task(use.keep_up(record))
    try:
        yield _as_server(record, started=started)
    finally:
        watch.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        finally:
            await use.leave()


async def running_dev_server(*, state_dir: Path | None = None) -> Server | None:
    """Give the dev server of a state folder if it runs and answers; never starts one, and does not count as a user."""
    record = await _state(state_dir).answering()
    return _as_server(record, started=False) if record else None


def has_dev_server(*, state_dir: Path | None = None) -> bool:
    """Tell whether there is a dev server of a state folder, running or not, that may know runs."""
    return _state(state_dir).database.exists()


async def stop_dev_server(*, state_dir: Path | None = None) -> None:
    """Stop the dev server of a state folder, though others use it: their supervision starts it again. For tests."""
    state = _state(state_dir)
    async with exclusive(state.start_lock, lambda: None):
        await state.stop()


@dataclass
class _Use:
    """One user's hold on a dev server.

    Joining, leaving, starting and stopping all happen under `start_lock`, so a server that its last user stops is never
    handed to a newcomer, and two newcomers start one server.
    """

    state: StateFolder
    say: Say
    binary_home: Path | None
    _share: FileLock | None = None
    _binary: Path | None = None

    async def join(self) -> tuple[Record, bool]:
        """Become a user of the server; give its record, and whether it had to be started."""
        try:
            while True:
                if not self.state.is_running() and self._binary is None:
                    # Before the lock: a build takes minutes, in which others must be able to leave.
                    self._binary = await find_temporal_binary(self.say, home=self.binary_home)
                async with exclusive(self.state.start_lock, lambda: self.say(_WAITING)):
                    joined = await self._join_locked()
                if joined:
                    return joined
        except BaseException:
            await self.leave()
            raise

    async def keep_up(self, record: Record) -> None:
        """Start the server again on its ports whenever it has died, until cancelled or it dies too often."""
        restarts = deque[float](maxlen=_RESTARTS)
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            if self.state.is_running():
                continue
            if len(restarts) == _RESTARTS and time.monotonic() - restarts[0] < _RESTARTS_WITHIN_SECONDS:
                self.say(
                    f"Temporal's dev server died {_RESTARTS + 1} times within a minute and is left down; its log is "
                    f"{self.state.log}. Runs keep their state: start the command again to go on"
                )
                return
            try:
                if await self._restart(record):
                    restarts.append(time.monotonic())
            except (DSPExError, OSError) as error:
                restarts.append(time.monotonic())
                self.say(f"Temporal's dev server could not be restarted: {error}")

    async def leave(self) -> None:
        """Stop being a user; the last one stops the server."""
        share, self._share = self._share, None
        if share is None:
            return
        try:
            async with exclusive(self.state.start_lock, lambda: self.say(_WAITING)):
                if share.try_exclusive() and self.state.is_running():
                    self.say("Stopping Temporal's dev server; its state is kept")
                    await self.state.stop()
        finally:
            share.close()

    async def _join_locked(self) -> tuple[Record, bool] | None:
        """Join with `start_lock` held; None if the server went down and there is no binary yet to start it with."""
        if self._share is None:
            share = FileLock(self.state.users_lock)
            share.try_shared()  # others take it alone only with `start_lock` held, so this succeeds
            self._share = share
        if self.state.is_running():
            record = await self.state.answering()
            if record:
                self.say(f"Using Temporal's dev server at {record.address}, which is up already")
                return record, False
            self.say("Temporal's dev server runs but does not answer; starting it anew")
            await self.state.stop()
        if self._binary is None:
            return None
        return await self.state.start(self._binary, self.say), True

    async def _restart(self, record: Record) -> bool:
        """Start the server on its old ports, unless another user did so meanwhile."""
        binary = self._binary or await find_temporal_binary(self.say, home=self.binary_home)
        async with exclusive(self.state.start_lock, lambda: None):
            if self.state.is_running():
                return False
            self.say("Temporal's dev server has died; restarting it on the same address and state")
            await self.state.start(binary, self.say, ports=(record.port, record.ui_port))
            self.say(f"Temporal's dev server is up again at {record.address}")
            return True


def _as_server(record: Record, *, started: bool) -> Server:
    return Server(record.address, "default", record.web_ui, origin="dev server", started=started)


def _state(folder: Path | None) -> StateFolder:
    path = (folder or settings.home() / "dev-server").absolute()
    path.mkdir(parents=True, exist_ok=True)
    return StateFolder(path)
