import asyncio
import hashlib
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from dspex_core import events
from dspex_core.errors import (
    LMAuthenticationError,
    LMConnectionError,
    LMError,
    LMMalformedResponseError,
    LMNotFoundError,
    LMProviderError,
    LMRateLimitError,
    LMRequestError,
    LMTimeoutError,
    LMUnavailableError,
    LMUnreachableError,
)
from dspex_core.lm._adaptive import AdaptiveLimit
from dspex_core.lm._breaker import Breaker, BreakerState
from dspex_core.lm._breaker_report import report_breaker
from dspex_core.lm._rates import Rate, exhausted_for
from dspex_core.lm._retrying import (
    PATIENCE_BEFORE_FALLBACK_SECONDS,
    PATIENCE_SECONDS,
    PATIENCE_WHERE_NOBODY_IS_SECONDS,
)
from dspex_core.lm._turns import Turns
from dspex_core.seam import LMConfig, LMRequest, current_caller

_REFUSALS_BEFORE_PAUSE = 3
_SHORTEST_TIMER_SECONDS = 0.002
_CHARACTERS_PER_TOKEN = 4
_BROKEN = (LMConnectionError, LMProviderError, LMMalformedResponseError)
_ALIVE = (LMRateLimitError, LMRequestError, LMAuthenticationError, LMNotFoundError)


@dataclass(eq=False)
class _Waiter:
    """One who waits for a slot, on a loop of its own."""

    turn: "Turn"
    caller: Hashable
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    granted: bool = False


class Turn:
    """A slot for one attempt at a call: `async with pool.turn(…):`, and the error that leaves the block is judged.

    Attributes:
        queued_seconds: How long the slot was waited for while the provider worked.
        attempts: How often it was asked for.
        used_tokens: What the call took, once that is known.
    """

    def __init__(self, pool: "Pool", *, tokens: int, patient: bool, brief: bool = False) -> None:
        self._pool = pool
        self.tokens = tokens
        self.patient = patient and not brief
        self.brief = brief
        self.used_tokens: int | None = None
        self.queued_seconds = 0.0
        self.attempts = 0
        self.round = 0
        self.probe = False
        self._last_failure = ""

    @property
    def last_failure(self) -> str:
        """How the last attempt failed, or why none is made; empty if nothing of that kind is known."""
        return self._last_failure or self._pool.broken_by

    @property
    def has_been_heard(self) -> bool:
        """Whether any connection to the endpoint ever came about, in this process."""
        return self._pool.has_been_heard

    async def __aenter__(self) -> Self:
        self.attempts += 1
        await self._pool.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, LMError):
            self._last_failure = str(error)
        self._pool.leave(self, error)


class Pool:
    """What all callers of one model at one endpoint with one key share: slots, rates, and a circuit breaker.

    Safe for threads and for several event loops. Who waits for a slot is served in turn with other callers; a retry
    that waits holds none. While the breaker is open, a caller that is not patient fails at once, and one that is waits;
    once it has been open for longer than `PATIENCE_SECONDS`, all fail at once; much sooner if no connection to the
    endpoint ever came about.

    Args:
        config: The model, the endpoint, and the limits.
        endpoint: Where the calls go.
        clock: Seconds of a clock that only rises.
    """

    def __init__(self, config: LMConfig, *, endpoint: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._model, self._provider, self._name, self._endpoint = config.model, config.provider, config.name, endpoint
        self._clock = clock
        self._lock = threading.Lock()
        self._limit = AdaptiveLimit(config.concurrency)
        self._breaker = Breaker(self._tell)
        self._requests = None if config.requests_per_minute is None else Rate(config.requests_per_minute)
        self._tokens = None if config.tokens_per_minute is None else Rate(config.tokens_per_minute)
        self._waiting: Turns[_Waiter] = Turns()
        self._in_flight = 0
        self._refusals_in_a_row = 0
        self._paused_until = 0.0
        self._timer_at: float | None = None
        self.has_been_heard = False

    @property
    def counts_tokens(self) -> bool:
        """Whether there is a limit of tokens, so that a call's must be estimated."""
        return self._tokens is not None

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return self._limit.limit

    @property
    def broken_by(self) -> str:
        """The failure that keeps the breaker from being closed; empty if it is closed."""
        return "" if self._breaker.state == "closed" else self._breaker.reason

    def turn(self, *, tokens: int = 0, patient: bool = True, brief: bool = False) -> Turn:
        """A slot to enter.

        Args:
            tokens: What the call will take, by estimate; set `used_tokens` on the turn once it is known.
            patient: Whether to wait for a provider that is left alone for a while.
            brief: Whether another model waits to take the call, so that no long pause is waited for, of any kind.
        """
        return Turn(self, tokens=tokens, patient=patient, brief=brief)

    def heed(self, headers: Mapping[str, str]) -> None:
        """Take note of what an answer's headers say of the provider's limits."""
        pause = exhausted_for(headers)
        if pause:
            with self._lock:
                self._pause(min(pause, PATIENCE_SECONDS))

    async def enter(self, turn: Turn) -> None:
        """Wait for a slot.

        Raises:
            LMUnavailableError: If the breaker is open, and the caller does not wait for it.
            LMRateLimitError: If the provider asks all to wait, and the caller does not.
        """
        now = self._clock()
        with self._lock:
            if turn.brief and self._paused_until - now > PATIENCE_BEFORE_FALLBACK_SECONDS:
                raise self._limited(now)
            if self._breaker.state != "closed" and self._breaker.wait(now) != 0.0 and not self._is_worth_waiting(turn):
                raise self._unavailable(now)
            if not self._waiting and self._wait(now, turn) == 0.0:
                self._grant(now, turn)
                return
            working = self._breaker.state == "closed"
            loop = asyncio.get_running_loop()
            caller = current_caller() or (loop, _work_of_this_task())
            waiter = _Waiter(turn, caller, loop, loop.create_future())
            self._waiting.add(caller, waiter)
            self._serve(now)
        try:
            await waiter.future
        except asyncio.CancelledError:
            with self._lock:
                if not waiter.granted:
                    self._waiting.remove(waiter.caller, waiter)
                    raise
            self.leave(turn, asyncio.CancelledError())
            raise
        if working:
            turn.queued_seconds += self._clock() - now

    def leave(self, turn: Turn, error: BaseException | None) -> None:
        """Give a slot back, and learn from how the call ended."""
        now = self._clock()
        with self._lock:
            saturated = self._in_flight >= self._limit.limit
            self._in_flight -= 1
            if error is None or (isinstance(error, LMError) and not isinstance(error, LMUnreachableError)):
                self.has_been_heard = True
            if error is None:
                self._breaker.answered(probe=turn.probe)
                self._refusals_in_a_row = 0
                self._limit.answered(turn.round, saturated=saturated)
                if self._tokens is not None and turn.used_tokens is not None:
                    self._tokens.take(now, turn.used_tokens - turn.tokens)
            else:
                self._learn(now, turn, error)
            if self._waiting:
                if self._breaker.state == "open":
                    self._send_away(now)
                self._serve(now)

    def _learn(self, now: float, turn: Turn, error: BaseException) -> None:
        if isinstance(error, LMRateLimitError):
            self._refusals_in_a_row += 1
            if self._refusals_in_a_row >= _REFUSALS_BEFORE_PAUSE and not self._in_flight and error.retry_after:
                # Nothing gets through any more: the limit is one of time, and all wait for its end.
                self._pause(min(error.retry_after, PATIENCE_SECONDS))
        if isinstance(error, (LMRateLimitError, LMTimeoutError)):
            self._limit.refused(turn.round, in_flight=self._in_flight)
        if isinstance(error, _BROKEN):
            self._breaker.failed(now, str(error), probe=turn.probe)
        elif isinstance(error, _ALIVE):
            self._breaker.answered(probe=turn.probe)
        else:
            self._breaker.abandoned(probe=turn.probe)

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _wait(self, now: float, turn: Turn) -> float | None:
        """Seconds until this turn can begin; None if that depends on calls in flight."""
        if self._in_flight >= self._limit.limit:
            return None
        broken = self._breaker.wait(now)
        if broken is None:
            return None
        return max(
            broken,
            self._paused_until - now,
            0.0 if self._requests is None else self._requests.wait(now, 1),
            0.0 if self._tokens is None else self._tokens.wait(now, turn.tokens),
        )

    def _grant(self, now: float, turn: Turn) -> None:
        self._in_flight += 1
        turn.round = self._limit.round
        turn.probe = self._breaker.sends(now)
        if self._requests is not None:
            self._requests.take(now, 1)
        if self._tokens is not None:
            self._tokens.take(now, turn.tokens)

    def _serve(self, now: float) -> None:
        """Let in whom there is room for; the rest are looked at again when a call ends, or when time has passed."""
        while self._waiting:
            wait = self._wait(now, self._waiting.peek().turn)
            if wait is None:
                return
            if wait > 0:
                self._look_again(now, max(wait, _SHORTEST_TIMER_SECONDS))
                return
            waiter = self._waiting.pop()
            self._grant(now, waiter.turn)
            waiter.granted = True
            if not _wake(waiter, None):
                self._in_flight -= 1
                self._breaker.abandoned(probe=waiter.turn.probe)

    def _look_again(self, now: float, seconds: float) -> None:
        # A thread's timer, since any of the loops may end before the time has come.
        if self._timer_at is not None and self._timer_at <= now + seconds:
            return
        self._timer_at = now + seconds
        timer = threading.Timer(seconds, _on_time, (weakref.ref(self), self._timer_at))
        timer.daemon = True
        timer.start()

    def on_time(self, due: float) -> None:
        """A timer's time has come."""
        with self._lock:
            if self._timer_at == due:
                self._timer_at = None
            self._serve(max(self._clock(), due))

    def _send_away(self, now: float) -> None:
        for waiter in list(self._waiting):
            if not self._is_worth_waiting(waiter.turn):
                self._waiting.remove(waiter.caller, waiter)
                _wake(waiter, self._unavailable(now))

    def _is_worth_waiting(self, turn: Turn) -> bool:
        patience = PATIENCE_SECONDS if self.has_been_heard else PATIENCE_WHERE_NOBODY_IS_SECONDS
        return turn.patient and self._breaker.tries_again_at - self._breaker.broken_since <= patience

    def _unavailable(self, now: float) -> LMUnavailableError:
        wait = max(0.0, self._breaker.tries_again_at - now)
        return LMUnavailableError(
            f"{self._model}: {self._endpoint} failed many times in a row and is left alone, one call finds out in "
            f"{wait:.1f} s whether it works again; the last failure was: {self._breaker.reason}",
            provider=self._provider,
            model=self._name,
            retry_after=wait,
        )

    def _limited(self, now: float) -> LMRateLimitError:
        wait = self._paused_until - now
        said = f"{self._model}: {self._endpoint} takes no more calls for {wait:.1f} s"
        return LMRateLimitError(said, provider=self._provider, model=self._name, retry_after=wait)

    def _tell(self, state: BreakerState, pause: float, reason: str) -> None:
        changed = events.BreakerChanged(
            model=self._model, endpoint=self._endpoint, state=state, tries_again_in_seconds=pause, reason=reason
        )
        events.publish(changed)
        report_breaker(changed)


@dataclass
class _Pools:
    """The pools of this process, as long as an LM uses them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    pools: "weakref.WeakValueDictionary[Hashable, Pool]" = field(default_factory=weakref.WeakValueDictionary)  # pyright: ignore[reportUnknownVariableType]


_pools = _Pools()


def pool_of(config: LMConfig, *, endpoint: str, api_key: str | None) -> Pool:
    """The pool that calls of this configuration share with all others of the same model, endpoint, key and limits."""
    key_digest = hashlib.sha256(api_key.encode()).digest() if api_key else b""
    limits = (config.concurrency, config.requests_per_minute, config.tokens_per_minute)
    with _pools.lock:
        key = (config.model, endpoint, key_digest, limits)
        pool = _pools.pools.get(key)
        if pool is None:
            pool = _pools.pools[key] = Pool(config, endpoint=endpoint)
        return pool


def estimated_tokens(config: LMConfig, request: LMRequest) -> int:
    """What a call will take, before it is known: four characters are a token, and the answer is as long as allowed."""
    written = sum(len(message.model_dump_json()) for message in request.messages)
    return written // _CHARACTERS_PER_TOKEN + (config.max_tokens or 0)


def _on_time(pool: "weakref.ref[Pool]", due: float) -> None:
    alive = pool()
    if alive is not None:
        alive.on_time(due)


def _wake(waiter: _Waiter, error: LMError | None) -> bool:
    """Let a waiter go on, on its own loop; False if that loop has ended."""

    def settle() -> None:
        if waiter.future.done():
            return
        if error is None:
            waiter.future.set_result(None)
        else:
            waiter.future.set_exception(error)

    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if waiter.loop is running:
        settle()
        return True
    try:
        waiter.loop.call_soon_threadsafe(settle)
    except RuntimeError:
        return False
    return True


def _work_of_this_task() -> object:
    """What the running task runs. It tells apart calls that belong to no evaluation: one gathers many, another asks."""
    task = asyncio.current_task()
    coroutine = task.get_coro() if task is not None else None
    return getattr(coroutine, "cr_code", None)
