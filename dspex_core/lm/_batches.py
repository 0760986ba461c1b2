import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Threads of their own: an answer that waited behind a user's slow metric would be lost with its process.
_threads = ThreadPoolExecutor(4, thread_name_prefix="dspex-disk")


class Batches(Generic[T, R]):
    """Blocking work, handed over one by one by tasks of any loop, and done in a thread in as few batches as possible.

    While a batch is done, the next one gathers. So the busier it is, the less each item costs.

    Args:
        work: Does a batch: a result for every item, in their order. It must not raise.
    """

    def __init__(self, work: Callable[[list[T]], list[R]]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._gathered: list[tuple[T, asyncio.Future[R]]] = []
        self._busy = False

    async def do(self, item: T) -> R:
        """Have an item done; returns its result."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._gathered.append((item, future))
            start = not self._busy
            self._busy = True
        if start:
            _threads.submit(self._do_all)
        return await future

    def _do_all(self) -> None:
        while True:
            with self._lock:
                batch, self._gathered = self._gathered, []
                if not batch:
                    self._busy = False
                    return
            results = self._work([item for item, _ in batch])
            settled: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[R], R]]] = {}
            for (_, future), result in zip(batch, results, strict=True):
                settled.setdefault(future.get_loop(), []).append((future, result))
            for loop, pairs in settled.items():
                with suppress(RuntimeError):  # that loop has ended, and nobody waits there any more
                    loop.call_soon_threadsafe(_settle, pairs)


def _settle(pairs: list[tuple[asyncio.Future[R], R]]) -> None:
    for future, result in pairs:
        if not future.done():
            future.set_result(result)
