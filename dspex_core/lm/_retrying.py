import tenacity

from dspex_core.errors import LMError, RetrievalError

ATTEMPTS = 10
PATIENCE_SECONDS = 120.0
LONGEST_WAIT_SECONDS = 15.0

_full_jitter = tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT_SECONDS)


def retrying() -> tenacity.AsyncRetrying:
    """Attempts at a call or a search, to loop over: they end where no repetition can help, or after enough of them."""
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_is_retryable),
        wait=_wait,
        stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(PATIENCE_SECONDS),
        reraise=True,
    )


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, (LMError, RetrievalError)) and error.retryable


def _wait(state: tenacity.RetryCallState) -> float:
    """What the provider asks for and, so that not all come back at once, a random share of a doubling delay.

    Source: "full jitter" in AWS's architecture blog, "Exponential Backoff And Jitter".
    """
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, LMError) else None
    return (asked or 0.0) + _full_jitter(state)
