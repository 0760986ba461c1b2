import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

_TAIL_LINES = 5


class CommandError(Exception):
    """A program could not be run or reported failure; the text is one line on why."""


async def output_of(command: Sequence[str | Path], *, timeout_seconds: float, cwd: Path | None = None) -> str:
    """Run a short command and give its standard output, stripped.

    Raises:
        CommandError: It cannot be started, exits with an error or takes longer than allowed.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return "\n".join([line async for line in lines_of(command, cwd=cwd)]).strip()
    except TimeoutError:
        raise CommandError(f"{command[0]} gave no answer within {timeout_seconds:g} seconds") from None


async def lines_of(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[str]:
    """Run a command and yield what it prints, both streams together, line by line.

    Whatever ends the iteration early, cancellation included, ends the command and its children.

    Raises:
        CommandError: It cannot be started or exits with an error; quotes the last lines it printed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(f"{command[0]} cannot be run: {error.strerror}") from error
    tail: list[str] = []
    try:
        assert process.stdout is not None  # noqa: S101 - asked for a pipe above
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            tail = [*tail, line][-_TAIL_LINES:]
            yield line
        status = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status:
        said = " | ".join(line for line in tail if line) or "it printed nothing"
        raise CommandError(f"{command[0]} ended with status {status}: {said}")
