import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio.service import RPCError, RPCStatusCode

from dspex_core.errors import RunError, RunNotFoundError, ServerUnavailableError

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long a server may be away before its absence is an error."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 2.0
_AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Ask again while the server is away: the run is safe there, and a server that was killed comes back.

    What counts is how long it is away, not how long the answer takes: a wait for a run's end may last for days.
    """
    away_since, longest_pause = None, FIRST_PAUSE_SECONDS
    while True:
        began = time.monotonic()
        try:
            return await call()
        except RPCError as error:
            failed = time.monotonic()
            # A call that lasted for longer has met the server in between.
            if away_since is None or failed - began > PATIENCE_SECONDS:
                away_since, longest_pause = failed, FIRST_PAUSE_SECONDS
            if not _is_away(error) or failed - away_since >= PATIENCE_SECONDS:
                raise
        await asyncio.sleep(random.uniform(0, longest_pause))  # noqa: S311 - so that clients do not ask all at once
        longest_pause = min(2 * longest_pause, LONGEST_PAUSE_SECONDS)


def _is_away(error: RPCError) -> bool:
    # A connection that breaks while a request is on it has no status of its own.
    return error.status in _AWAY or (error.status is RPCStatusCode.UNKNOWN and "transport error" in error.message)


def rpc_error(error: RPCError, run_id: str) -> RunError | ServerUnavailableError:
    """Temporal's answer that it cannot do something with a run, as an error of ours."""
    if error.status is RPCStatusCode.NOT_FOUND:
        return RunNotFoundError(f"there is no run {run_id!r} on this server; `dspex runs list` shows those there are")
    if error.status is RPCStatusCode.UNAVAILABLE:
        return ServerUnavailableError(f"the Temporal server no longer answers: {error.message}")
    return RunError(f"run {run_id}: {error.message}")
