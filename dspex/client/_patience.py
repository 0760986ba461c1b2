from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity
from temporalio.service import RPCError, RPCStatusCode

from dspex_core.errors import RunError, RunNotFoundError, ServerUnavailableError

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long a server may be away before its absence is an error."""
_AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Ask again while the server is away: the run is safe there, and a server that was killed comes back."""
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_is_away),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=2.0),
        stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
        reraise=True,
    )
    return await retrying(call)


def _is_away(error: BaseException) -> bool:
    if not isinstance(error, RPCError):
        return False
    # A connection that breaks while a request is on it has no status of its own.
    return error.status in _AWAY or (error.status is RPCStatusCode.UNKNOWN and "transport error" in error.message)


def rpc_error(error: RPCError, run_id: str) -> RunError | ServerUnavailableError:
    """Temporal's answer that it cannot do something with a run, as an error of ours."""
    if error.status is RPCStatusCode.NOT_FOUND:
        return RunNotFoundError(f"there is no run {run_id!r} on this server; `dspex runs list` shows those there are")
    if error.status is RPCStatusCode.UNAVAILABLE:
        return ServerUnavailableError(f"the Temporal server no longer answers: {error.message}")
    return RunError(f"run {run_id}: {error.message}")
