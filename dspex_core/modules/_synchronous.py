"""Running a coroutine from synchronous code, whatever loop may already be running there."""

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

from dspex_core.errors import ProgramError

T = TypeVar("T")

_THREAD = "dspex-run"


def run_synchronously(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to completion on a loop in a background thread, under the caller's context, and give the result back.

    Raises:
        ProgramError: If called from code that such a run is running itself: it would wait for its own thread.
    """
    if threading.current_thread().name == _THREAD:
        coroutine.close()
        raise ProgramError(
            "a program that was started with .run() cannot call .run() on its own thread: await it there"
        )
    result: Future[T] = Future()
    context = contextvars.copy_context()
    loop = _background_loop()
    tasks: list[asyncio.Task[None]] = []

    async def run() -> None:
        try:
            result.set_result(await coroutine)
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread as it is
            result.set_exception(error)

    def start() -> None:
        tasks.append(loop.create_task(run(), context=context))

    loop.call_soon_threadsafe(start)
    try:
        return result.result()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        raise


@cache
def _background_loop() -> asyncio.AbstractEventLoop:
    # One loop for the whole process: connections to a provider live on a loop and are worth keeping.
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=_THREAD, daemon=True).start()
    return loop
