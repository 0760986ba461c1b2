"""What every command shares: running, failing and talking in one way."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

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
        return asyncio.run(until_told())
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)


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
    sys.stdout.flush()
    # Not sys.exit: a Temporal client that could not connect still tries to, in a thread that the interpreter's own
    # ending would trip over.
    os._exit(BAD_INPUT if isinstance(cause, InputError) else FAILED)


def innermost(error: BaseException) -> BaseException:
    """The first error of ours in a group of errors, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = error  # pyright: ignore[reportUnknownVariableType]
        ours = group.subgroup(DSPExError)
        return innermost((ours or group).exceptions[0])
    return error
