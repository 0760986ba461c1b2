import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from dspex_core.usage import Usage


class EarlyEnd:
    """Lets whoever runs a search end it early, so that it gives the best it has found so far.

    Args:
        paid: Tells what the whole run took so far, where not all of it is paid for in this process.

    Attributes:
        reason: Why it ends early; None while it does not.
    """

    def __init__(self, paid: Callable[[], Usage] | None = None) -> None:
        self.reason: str | None = None
        self.paid = paid
        self._task: asyncio.Task[Any] | None = None

    def now(self, reason: str) -> None:
        """End the search, if it is under way, or as soon as it begins. Said again, this changes nothing."""
        if self.reason is None:
            self.reason = reason
            if self._task is not None:
                self._task.cancel()

    @contextmanager
    def of_this_task(self) -> Generator[None]:
        """The block, run by the current task, is what ends early; it is left without an error then."""
        self._task = asyncio.current_task()
        if self.reason is not None and self._task is not None:
            self._task.cancel()
        try:
            yield
        except asyncio.CancelledError:
            if self.reason is None or self._task is None:
                raise
            self._task.uncancel()
        finally:
            self._task = None


_ending: ContextVar[EarlyEnd | None] = ContextVar("dspex_early_end", default=None)


def current_early_end() -> EarlyEnd:
    """What may end the search that begins now; one of which nobody else knows, if none was given."""
    return _ending.get() or EarlyEnd()


@contextmanager
def may_end_early(end: EarlyEnd) -> Generator[EarlyEnd]:
    """Let a search of the block be ended early by this."""
    token = _ending.set(end)
    try:
        yield end
    finally:
        _ending.reset(token)
