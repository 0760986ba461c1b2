import asyncio
import fcntl
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.004
_LONGEST_PAUSE_SECONDS = 0.05
_KEY_DIGITS = 15

_log = logging.getLogger(__name__)


class Flights(Generic[T]):
    """Sees to it that equal calls made at once are sent once, by all tasks, loops and threads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[T]] = {}

    async def once(
        self, key: Hashable, ask: Callable[[], Awaitable[T]], *, let_go: Callable[[], None]
    ) -> tuple[T, bool]:
        """The answer to a call, and whether it was asked for here; otherwise somebody else had asked already.

        If who asked is cancelled, those who joined still get the answer.

        Args:
            key: What equal calls have in common.
            ask: Makes the call.
            let_go: Called when this caller asks no more: its asking has ended, or somebody else asks already.

        Raises:
            LMError: As `ask` does; also for those who joined.
        """
        while True:
            with self._lock:
                joined = self._under_way.get(key)
                if joined is None:
                    mine = self._under_way[key] = Future[T]()
                    break
            let_go()
            try:
                return await asyncio.shield(asyncio.wrap_future(joined)), False
            except asyncio.CancelledError:
                if not joined.cancelled():
                    raise
                # The loop that asked has ended, and its task with it.
        task = asyncio.ensure_future(ask())
        task.add_done_callback(lambda _: let_go())
        task.add_done_callback(lambda done: self._land(key, mine, done))
        return await asyncio.shield(task), True

    def _land(self, key: Hashable, flight: Future[T], task: "asyncio.Future[T]") -> None:
        with self._lock:
            del self._under_way[key]
        if task.cancelled():
            flight.cancel()
            flight.set_running_or_notify_cancel()
            return
        error = task.exception()
        if error is not None:
            flight.set_exception(error)
        else:
            flight.set_result(task.result())


class MachineLocks:
    """Locks by key, shared by the processes of this machine. One held by a process that dies is free at once.

    Each key is one byte of a file that stays empty, locked by the kernel (POSIX record locks): taking one costs a
    microsecond, and leaves nothing behind. Where the file system cannot lock, there is no lock, and a warning.

    Args:
        file: The file; made if it is not there.
    """

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._file: int | None = None
        try:
            # Never closed: to close a file lets go of all the locks that the process has on it.
            self._file = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            self._give_up(error)

    def take_if_free(self, key: str) -> bool:
        """Take the lock on a key, a hexadecimal digest, if nobody has it; says whether this caller has it now."""
        return self._try(_place(key))

    async def take(self, key: str) -> None:
        """Wait until the lock on a key is this caller's."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._try(_place(key)):
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)

    def give_back(self, key: str) -> None:
        """Let go of a lock that was taken."""
        place = _place(key)
        with self._lock:
            self._held.discard(place)
            if self._file is not None:
                try:
                    fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
                except OSError as error:
                    self._give_up(error)

    def _try(self, place: int) -> bool:
        with self._lock:
            # The kernel's lock is the process's: within it, this set tells callers apart.
            if place in self._held:
                return False
            if self._file is not None:
                try:
                    fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                except (BlockingIOError, PermissionError):
                    return False
                except OSError as error:
                    self._give_up(error)
            self._held.add(place)
            return True

    def _give_up(self, error: OSError) -> None:
        self._file = None
        _log.warning("processes cannot tell each other which calls they make (%s): equal ones may be sent twice", error)


def _place(key: str) -> int:
    return int(key[:_KEY_DIGITS], 16)
