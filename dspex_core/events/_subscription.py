import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from dspex_core.errors import ConfigurationError
from dspex_core.events._union import CALLS, RUNS, Event, EventsLost


class Subscription:
    """One subscriber's events, in order. Iterate over it; it ends when the `subscribe` block ends."""

    def __init__(self, buffer: int, types: Collection[str] = RUNS | CALLS) -> None:
        self.types = frozenset(types)
        self._events: deque[Event] = deque(maxlen=buffer)
        self._lost = 0
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._closed = False

    def deliver(self, event: Event) -> None:
        """Add an event, from any thread."""
        if len(self._events) == self._events.maxlen:
            self._lost += 1
        self._events.append(event)
        # A loop that has ended reads nothing any more; that is no reason for the work to fail.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.set)

    def close(self) -> None:
        """End the iteration once the events that arrived are read."""
        self._closed = True
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            self._arrived.clear()
            while self._events or self._lost:
                if self._lost:
                    lost, self._lost = self._lost, 0
                    yield EventsLost(count=lost)
                else:
                    yield self._events.popleft()
            if self._closed:
                return
            await self._arrived.wait()


class _Listener:
    def __init__(self, tell: Callable[[Event], None], types: Collection[str]) -> None:
        self.types = frozenset(types)
        self._tell = tell

    def deliver(self, event: Event) -> None:
        try:
            self._tell(event)
        except Exception:
            logging.getLogger("dspex.events").warning("a listener failed on %s", event.type, exc_info=True)


_subscriptions: list[Subscription | _Listener] = []
_wanting_calls: list[Subscription | _Listener] = []
_muted: ContextVar[bool] = ContextVar("dspex_events_muted", default=False)


@contextmanager
def subscribe(*, buffer: int = 10_000, types: Collection[str] | None = None) -> Generator[Subscription]:
    """Receive events emitted in this process while the block runs.

    Args:
        buffer: Events kept for a subscriber that is behind; beyond it the oldest are dropped and counted.
        types: Types wanted, such as {"lm_end"}, `CALLS` or `RUNS`; None for all.

    Raises:
        ConfigurationError: If there is no such type.
    """
    subscription = Subscription(buffer, _known(types))
    try:
        with _registered(subscription):
            yield subscription
    finally:
        subscription.close()


@contextmanager
def listen(tell: Callable[[Event], None], *, types: Collection[str] | None = None) -> Generator[None]:
    """Have a function called with events while the block runs, at once: in the thread and context they come from.

    For what needs that context, or the order of several threads. Others subscribe: a function that takes its time here
    holds up the work. What it raises is logged, and otherwise ignored.

    Args:
        tell: The function.
        types: Types wanted; None for all.

    Raises:
        ConfigurationError: If there is no such type.
    """
    with _registered(_Listener(tell, _known(types))):
        yield


def _known(types: Collection[str] | None) -> Collection[str]:
    if unknown := sorted(set(types or ()) - RUNS - CALLS):
        raise ConfigurationError(
            f"there are no events of type {unknown[0]!r}; there are {', '.join(sorted(RUNS | CALLS))}"
        )
    return RUNS | CALLS if types is None else types


@contextmanager
def _registered(subscriber: Subscription | _Listener) -> Generator[None]:
    _subscriptions.append(subscriber)
    if subscriber.types & CALLS:
        _wanting_calls.append(subscriber)
    try:
        yield
    finally:
        _subscriptions.remove(subscriber)
        if subscriber in _wanting_calls:
            _wanting_calls.remove(subscriber)


def publish(event: Event) -> None:
    """Hand an event to every subscriber that wants its type."""
    for subscription in tuple(_subscriptions):
        if event.type in subscription.types:
            subscription.deliver(event)


def wanted(kind: str) -> bool:
    """Whether anybody in this process is to be told of events of this type; for whoever would have to make one."""
    return any(kind in subscription.types for subscription in _subscriptions)


def watched() -> bool:
    """Whether anybody is to be told of single calls; one quick look, for whoever would have to make the event."""
    return bool(_wanting_calls) and not _muted.get()


@contextmanager
def muted() -> Generator[None]:
    """Tell nobody of the calls of the block: a workflow's code runs again whenever it is replayed."""
    token = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(token)
