import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity

from dspex_core.errors import LMError, LMUnavailableError, LMUnreachableError, RetrievalError
from dspex_core.seam import stepping_aside

ATTEMPTS = 10
PATIENCE_SECONDS = 120.0
LONGEST_WAIT_SECONDS = 15.0
LONGEST_JITTER_SECONDS = 1.0
_JITTER = 0.25
ATTEMPTS_BEFORE_FALLBACK = 3
PATIENCE_BEFORE_FALLBACK_SECONDS = 10.0
ATTEMPTS_WHERE_NOBODY_IS = 3
PATIENCE_WHERE_NOBODY_IS_SECONDS = 5.0
"""An address that refuses every connection and never answered in this process is rather mistyped than down."""

_T = TypeVar("_T")

_full_jitter = tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT_SECONDS)


def retrying(
    queued_seconds: Callable[[], float] = lambda: 0.0,
    *,
    brief: bool = False,
    is_anyone_there: Callable[[], bool] = lambda: True,
) -> tenacity.AsyncRetrying:
    """Attempts at a call or a search, to loop over: they end where no repetition can help, or after enough of them.

    Args:
        queued_seconds: How much of the time so far was spent in a queue here, which is not held against the provider.
        brief: Whether to give up soon, since another model waits to take the call.
        is_anyone_there: Whether anything was ever heard from there; if not, a refused connection is soon given up.
    """
    attempts = ATTEMPTS_BEFORE_FALLBACK if brief else ATTEMPTS
    patience_seconds = PATIENCE_BEFORE_FALLBACK_SECONDS if brief else PATIENCE_SECONDS

    def patience_ends(state: tenacity.RetryCallState) -> bool:
        spent = (state.seconds_since_start or 0.0) - queued_seconds()
        return spent + state.upcoming_sleep >= patience_seconds

    def nobody_is_there(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        enough = state.attempt_number >= ATTEMPTS_WHERE_NOBODY_IS
        return enough and isinstance(error, LMUnreachableError) and not is_anyone_there()

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_is_retryable),
        wait=_wait,
        sleep=_sleep,
        stop=lambda state: state.attempt_number >= attempts or patience_ends(state) or nobody_is_there(state),
        reraise=True,
    )


async def retried(
    attempt: Callable[[], Awaitable[_T]],
    queued_seconds: Callable[[], float],
    *,
    brief: bool = False,
    is_anyone_there: Callable[[], bool] = lambda: True,
) -> _T:
    """The same for one call. That it went well the first time, as most do, costs nothing.

    Args:
        attempt: Makes the call.
        queued_seconds: As of `retrying`.
        brief: As of `retrying`.
        is_anyone_there: As of `retrying`.
    """
    try:
        return await attempt()
    except (LMError, RetrievalError) as error:
        if not _is_retryable(error):
            raise
        failures = [error]
    async for again in retrying(queued_seconds, brief=brief, is_anyone_there=is_anyone_there):
        with again:
            if failures:
                raise failures.pop()
            return await attempt()
    raise AssertionError  # pragma: no cover - the loop returns or raises


def _is_retryable(error: BaseException) -> bool:
    # A call that does not wait for its provider to work again is not tried again, either.
    if isinstance(error, LMUnavailableError):
        return False
    return isinstance(error, (LMError, RetrievalError)) and error.retryable


async def _sleep(seconds: float) -> None:
    # In an evaluation, the next row is worked on meanwhile.
    async with stepping_aside():
        await asyncio.sleep(seconds)


def _wait(state: tenacity.RetryCallState) -> float:
    """What the provider asks for, and up to a quarter or a second more; else a random share of a doubling delay.

    Source: "full jitter" in AWS's architecture blog, "Exponential Backoff And Jitter".
    """
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, LMError) else None
    if asked is None:
        return _full_jitter(state)
    return asked + _JITTER * min(asked, LONGEST_JITTER_SECONDS / _JITTER) * random.random()  # noqa: S311 - no secret
