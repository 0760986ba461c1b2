"""What every command shares: running, failing and talking in one way."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from typer.exceptions import TyperException

from dspex.cli._exporting import exporting
from dspex_core.errors import DSPExError, InputError, ServerSetupError

T = TypeVar("T")

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command to its end; SIGTERM and a closed terminal end it in order, as Ctrl-C does."""

    async def until_told() -> T:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    try:
        with exporting():
            return asyncio.run(until_told())
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)


async def until_told_to_stop() -> None:
    """Wait for Ctrl-C or SIGTERM, the ordinary end of what serves; once more ends the process at once."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    await told.wait()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)


def say(line: str) -> None:
    """One line of progress, on stderr; lost if whoever read it has gone, which is no reason to stop working."""
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the command line's own output


def tell(line: str) -> None:
    """One line of a result, on stdout."""
    print(line, flush=True)  # noqa: T201


def tell_json(document: Any) -> None:
    """The one JSON document of a command, on stdout."""
    tell(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def fail(error: BaseException) -> NoReturn:
    """End the process with one line about what went wrong: status 2 if the input was to blame, else 1."""
    cause = innermost(error)
    # What was tried to get a server is a list, and reads as one.
    text = str(cause) if isinstance(cause, ServerSetupError) else " ".join(str(cause).split())
    say(f"error: {text}")
    leave(BAD_INPUT if isinstance(cause, InputError) else FAILED)


def refuse(error: TyperException) -> NoReturn:
    """End the process with one line about a command that cannot be understood; one without a word asks for help."""
    context = getattr(error, "ctx", None)
    text = " ".join(error.format_message().split())
    if context is not None and text == " ".join(context.get_help().split()):
        say(context.get_help())
    else:
        say(f"error: {text.rstrip('.')}{'' if context is None else f'; see {context.command_path} --help'}")
    leave(error.exit_code)


def leave(status: int) -> NoReturn:
    """End the process with a status, and at once.

    Threads of Temporal's client may still be at work, and the interpreter's own ending aborts when one of them then
    wants it back.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def innermost(error: BaseException) -> BaseException:
    """The first error of ours in a group of errors, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = error  # pyright: ignore[reportUnknownVariableType]
        ours = group.subgroup(DSPExError)
        return innermost((ours or group).exceptions[0])
    return error
