import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from dspex_core.seam import LMResponse

_PEERS = 200
_FEWEST_PEERS = 20
_FAR_BEYOND = 3.0


class Stragglers:
    """Tells when a call takes far longer than its peers: three times as long as all but the slowest twentieth of them.

    Source: the hedged requests of Dean and Barroso, "The Tail at Scale" (Communications of the ACM, 2013).
    """

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_PEERS)

    def took(self, seconds: float) -> None:
        """A call was answered after so long."""
        self._seconds.append(seconds)

    def late_after(self) -> float | None:
        """Seconds after which a call is late, or None while too few are known."""
        if len(self._seconds) < _FEWEST_PEERS:
            return None
        return _FAR_BEYOND * sorted(self._seconds)[len(self._seconds) * 95 // 100]


async def hedged(
    first: Callable[[], Coroutine[Any, Any, LMResponse]],
    again: Callable[[], Coroutine[Any, Any, LMResponse]],
    *,
    late_after: float,
) -> LMResponse:
    """The answer of a call that is sent once more if it is late: the one that comes first.

    The other is cancelled. Has it been answered by then, its usage is part of the answer's.

    Args:
        first: Sends the call.
        again: Sends it once more.
        late_after: Seconds after which it is late.

    Raises:
        LMError: Of the first attempt, if both fail.
    """
    tasks = [asyncio.create_task(first())]
    try:
        await asyncio.wait(tasks, timeout=late_after)
        if not tasks[0].done():
            tasks.append(asyncio.create_task(again()))
            await _until_one_answers(tasks)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    answers = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    if not answers:
        return await tasks[0]
    usage = answers[0].usage
    for answer in answers[1:]:
        usage += answer.usage
    return answers[0].model_copy(update={"usage": usage})


async def _until_one_answers(tasks: Iterable[asyncio.Task[LMResponse]]) -> None:
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if any(not task.cancelled() and task.exception() is None for task in done):
            return
