import asyncio
import contextlib
import tempfile
from datetime import timedelta
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from dspex.devserver._command import CommandError
from dspex.devserver._server import Say

_STALLED_SECONDS = 10
_PROGRESS_SECONDS = 5
_START_TIMEOUT = timedelta(seconds=30)


async def download(folder: Path, say: Say) -> Path:
    """Have the Temporal SDK download its dev server into `folder`.

    The SDK offers this only as a part of starting a server, so one is started for a moment. It is given up when no
    byte has arrived for 10 seconds.

    Returns:
        The binary downloaded.

    Raises:
        CommandError: It did not arrive.
    """
    attempt = asyncio.create_task(_start_once(folder))
    try:
        await _watch(attempt, folder, say)
    finally:
        attempt.cancel()
        with contextlib.suppress(asyncio.CancelledError, RuntimeError):
            await attempt
    return _binary_in(folder)


async def _start_once(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as state:
        environment = await WorkflowEnvironment.start_local(  # pyright: ignore[reportUnknownMemberType] - temporalio leaves a type parameter open
            download_dest_dir=str(folder),
            dev_server_database_filename=str(Path(state) / "temporal.db"),
            dev_server_startup_timeout=_START_TIMEOUT,
        )
        await environment.shutdown()


async def _watch(attempt: "asyncio.Task[None]", folder: Path, say: Say) -> None:
    size, seconds, quiet_seconds = 0, 0, 0
    while not (await asyncio.wait([attempt], timeout=1))[0]:
        before, size = size, _size(folder)
        seconds += 1
        quiet_seconds = 0 if size > before else quiet_seconds + 1
        # After the last byte the SDK unpacks and starts the server, which has a time limit of its own.
        limit = _STALLED_SECONDS if not size else _STALLED_SECONDS + _START_TIMEOUT.seconds
        if quiet_seconds >= limit:
            raise CommandError(f"no data arrived for {quiet_seconds} seconds")
        if seconds % _PROGRESS_SECONDS == 0:
            say(f"Downloading Temporal's dev server: {size / 1e6:.0f} MB so far, {seconds} s")
    try:
        attempt.result()
    except RuntimeError as error:  # what temporalio raises for every failure here
        unreachable = "error sending request" in str(error)
        raise CommandError("its host, temporal.download, cannot be reached" if unreachable else str(error)) from error


def _binary_in(folder: Path) -> Path:
    found = [path for path in folder.iterdir() if path.is_file() and path.stat().st_mode & 0o100]
    if len(found) != 1:
        raise CommandError(f"the SDK's download left no binary in {folder}")
    return found[0]


def _size(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # a part file renamed between listing and asking
        return sum(path.stat().st_size for path in folder.iterdir())
    return 0
