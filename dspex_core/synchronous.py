"""Synchronous code under a loop, and coroutines in synchronous code: each where it holds up nobody."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar

from dspex_core.errors import ProgramError

T = TypeVar("T")

_THREAD = "dspex-run"


class _Host:
    """A loop on which synchronous code has coroutines run, for as long as that code is waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int | None = None) -> None:
        self._loop = loop
        self._thread = thread
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancelled = False
        self.over = False

    def takes_calls(self) -> bool:
        """Whether the calling thread may wait for this loop: not the loop's own, and not once all is done."""
        return threading.get_ident() != self._thread and (self._cancelled or not self.over)

    def cancel(self) -> None:
        """Cancel what runs and all that is still to come; called on the loop."""
        self._cancelled = True
        for task in self._tasks:
            task.cancel()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to completion, under the context of the calling thread, which waits."""
        result: Future[T] = Future()
        context = contextvars.copy_context()

        async def work() -> None:
            try:
                result.set_result(await coroutine)
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits as it is
                result.set_exception(error)

        def finish(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not result.done():  # it was cancelled before it began
                give_up()

        def give_up() -> None:
            coroutine.close()
            result.set_exception(asyncio.CancelledError())

        def start() -> None:
            if self._cancelled:
                give_up()
                return
            task = self._loop.create_task(work(), context=context)
            self._tasks.add(task)
            task.add_done_callback(finish)

        try:
            self._loop.call_soon_threadsafe(start)
        except RuntimeError:  # the loop has ended, and with it whoever waited for this
            give_up()
        try:
            return result.result()
        except KeyboardInterrupt:
            self._loop.call_soon_threadsafe(self.cancel)
            raise


_host: ContextVar[_Host | None] = ContextVar("dspex_host", default=None)


async def in_thread(work: Callable[[], T]) -> T:
    """What synchronous code returns, run in a thread of its own under the caller's context.

    Programs that it calls with `.run()` run on the loop that waits here: they share its connections and its limits,
    and are cancelled with whoever waits. The thread itself cannot be ended; it goes on unheard until its next `.run()`.

    Raises:
        RuntimeError: If it raises StopIteration, which no coroutine can let through.
        BaseException: Whatever else it raises.
    """
    # Not asyncio's pool: it has few threads, and one that hangs, or waits for another, would keep all others waiting.
    result: Future[T] = Future()
    host = _Host(asyncio.get_running_loop(), threading.get_ident())
    context = contextvars.copy_context()

    def run() -> None:
        if not result.set_running_or_notify_cancel():
            return
        _host.set(host)
        try:
            result.set_result(work())
        except StopIteration as error:
            result.set_exception(RuntimeError(f"StopIteration: {error}".rstrip(": ")))
        except BaseException as error:  # noqa: BLE001 - handed to the caller as it is
            result.set_exception(error)

    threading.Thread(target=context.run, args=(run,), name="dspex-synchronous", daemon=True).start()
    try:
        return await asyncio.wrap_future(result)
    except asyncio.CancelledError:
        host.cancel()
        raise
    finally:
        host.over = True


def run_synchronously(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to completion under the caller's context, and give the result back.

    In a thread of `in_thread`, it runs on the loop that waits for that thread; elsewhere on one in the background.

    Raises:
        ProgramError: If called from code that such a run is running itself: it would wait for its own thread.
    """
    host = _host.get()
    if host is not None and host.takes_calls():
        return host.run(coroutine)
    if threading.current_thread().name == _THREAD:
        coroutine.close()
        raise ProgramError(
            "a program that was started with .run() cannot call .run() on its own thread: await it there"
        )
    return _Host(_background_loop()).run(coroutine)


@cache
def _background_loop() -> asyncio.AbstractEventLoop:
    # One loop for the whole process: connections to a provider live on a loop and are worth keeping.
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=_THREAD, daemon=True).start()
    return loop
