import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from dspex_core.budget import BUDGET_REACHED, Limits
from dspex_core.errors import BudgetReachedError
from dspex_core.usage import Usage


class Spending:
    """Counts what the calls of a piece of work take, and lets none be sent any more once a limit is reached.

    Calls are counted before they are sent, and so never exceed their limit; dollars and tokens are known once a call
    is answered, and exceed theirs by the calls in flight at most. Safe for threads.

    Args:
        limits: What may be taken.
        clock: Seconds of a clock that only rises.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.usage = Usage()
        self._in_flight = 0
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()

    @contextmanager
    def call(self) -> Generator[None]:
        """A call that is about to be sent; say with `add` what it took.

        Raises:
            BudgetReachedError: If it may not be sent.
        """
        with self._lock:
            in_flight = Usage(lm_calls=self._in_flight)
            if self.limits.less(self.usage + in_flight, seconds=self._clock() - self._began).spent:
                raise BudgetReachedError(f"{BUDGET_REACHED}: {self.limits} may be taken; the call was not sent")
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def add(self, usage: Usage) -> None:
        """Count what a call took."""
        with self._lock:
            self.usage += usage


_spending: ContextVar[Spending | None] = ContextVar("dspex_spending", default=None)


def current_spending() -> Spending | None:
    """What counts the calls made now; None if nothing limits them."""
    return _spending.get()


@contextmanager
def spending(limits: Limits | None) -> Generator[Spending | None]:
    """Let the calls of the block take so much and no more; None leaves it as it is."""
    if limits is None:
        yield None
        return
    token = _spending.set(counter := Spending(limits))
    try:
        yield counter
    finally:
        _spending.reset(token)


@contextmanager
def one_call() -> Generator[Callable[[Usage], None]]:
    """A call that is about to be sent; gives what books its usage. Raises as `Spending.call` does."""
    counter = _spending.get()
    if counter is None:
        yield _unbooked
        return
    with counter.call():
        yield counter.add


def _unbooked(usage: Usage) -> None:
    del usage
