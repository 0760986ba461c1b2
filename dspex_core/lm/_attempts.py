from collections.abc import Awaitable, Callable
from typing import TypeVar

from dspex_core.lm._pool import Turn
from dspex_core.lm._retrying import retried

_T = TypeVar("_T")


async def in_turns(turn: Turn, attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Attempts at a call, each in a slot of its pool, until one goes well or no other makes sense.

    The slot is given back between attempts, so that a call that waits holds up no other. A retry is patient with a
    provider that is left alone for a while, unless another model waits to take the call.

    Raises:
        LMError: Of the last attempt.
    """

    async def in_slot() -> _T:
        try:
            async with turn:
                return await attempt()
        finally:
            turn.patient = not turn.brief

    return await retried(
        in_slot, lambda: turn.queued_seconds, brief=turn.brief, is_anyone_there=lambda: turn.has_been_heard
    )
