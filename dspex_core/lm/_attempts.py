import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from dspex_core.errors import LMTimeoutError
from dspex_core.lm._pool import Turn
from dspex_core.lm._retrying import retried
from dspex_core.seam import LMConfig

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


async def in_time(turn: Turn, answer: Coroutine[Any, Any, _T], *, config: LMConfig) -> _T:
    """What a call gives within the deadline of its model, if that has one.

    Args:
        turn: The call's.
        answer: Makes it, with queueing and retries.
        config: The model.

    Raises:
        LMTimeoutError: If the deadline has passed; names the last failure before it.
    """
    deadline = config.deadline_seconds
    try:
        async with asyncio.timeout(deadline):
            return await answer
    except TimeoutError:
        said = f"{config.model}: no answer within the deadline of {deadline:g} s, retries and queueing included"
        if last := turn.last_failure:
            said += f"; the last failure was: {last}"
        raise LMTimeoutError(said, provider=config.provider, model=config.name) from None
