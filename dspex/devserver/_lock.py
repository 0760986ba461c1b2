import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

_POLL_SECONDS = 0.1
_WAIT_WORTH_SAYING_SECONDS = 1.0


class FileLock:
    """An flock on a file. The kernel gives it up when the process dies, however it dies.

    Two of these on one file exclude each other, also within one process.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def try_exclusive(self) -> bool:
        """Take it alone, or return False at once; a share held before may be lost by trying."""
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        """Take it beside other sharers, or return False at once."""
        return self._try(fcntl.LOCK_SH)

    def fileno(self) -> int:
        """Give the descriptor: a child process that inherits it holds the lock too."""
        return self._descriptor

    def close(self) -> None:
        """Let go of it here; children that inherited it keep it."""
        os.close(self._descriptor)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def is_held(path: Path) -> bool:
    """Tell whether a living process holds the lock on this file exclusively."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        return not lock.try_shared()
    finally:
        lock.close()


@asynccontextmanager
async def exclusive(path: Path, on_wait: Callable[[], None]) -> AsyncGenerator[None]:
    """Hold the lock alone; `on_wait` is called once if that takes longer than a second."""
    lock = FileLock(path)
    try:
        polls_before_saying = int(_WAIT_WORTH_SAYING_SECONDS / _POLL_SECONDS)
        polls = 0
        while not lock.try_exclusive():
            polls += 1
            if polls == polls_before_saying:
                on_wait()
            await asyncio.sleep(_POLL_SECONDS)
        yield
    finally:
        lock.close()
