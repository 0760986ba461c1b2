"""What models were asked lately, kept to be looked at."""

import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from typing import NamedTuple, Protocol, TypeVar

from dspex_core.errors import DSPExError
from dspex_core.seam import LMConfig, LMRequest, LMResponse

CALLS_KEPT = 100
"""Calls that an LM, and the process as a whole, remembers; older ones are forgotten."""


class LMCall(NamedTuple):
    """One call to a model, as it went.

    Attributes:
        started: When, in seconds since the epoch.
        seconds: How long it took, retries and waiting for a slot included.
        model: Provider and model.
        request: What was asked.
        response: The answer, or None if there was none.
        error: What went wrong, if there was none.
    """

    started: float
    seconds: float
    model: str
    request: LMRequest
    response: LMResponse | None
    error: str = ""


class _Remembering(Protocol):
    history: deque[LMCall]

    @property
    def config(self) -> LMConfig: ...


_Model = TypeVar("_Model", bound=_Remembering)
_Generate = Callable[[_Model, LMRequest], Awaitable[LMResponse]]
_Stream = Callable[[_Model, LMRequest], AsyncGenerator[str | LMResponse]]

# Appending to a deque is atomic, so threads need no lock.
recent_calls: deque[LMCall] = deque(maxlen=CALLS_KEPT)
"""The last calls of all LMs of this process."""


def remembered(generate: _Generate[_Model]) -> _Generate[_Model]:
    """The same, keeping each call in the LM's history and in that of the process."""

    @wraps(generate)
    async def remembering(lm: _Model, request: LMRequest) -> LMResponse:
        started, clock = time.time(), time.perf_counter()
        try:
            response = await generate(lm, request)
        except DSPExError as error:
            _keep(lm, LMCall(started, time.perf_counter() - clock, lm.config.model, request, None, _said(error)))
            raise
        _keep(lm, LMCall(started, time.perf_counter() - clock, lm.config.model, request, response))
        return response

    return remembering


def remembered_stream(stream: _Stream[_Model]) -> _Stream[_Model]:
    """The same, keeping each call whose stream is read to its end."""

    @wraps(stream)
    async def remembering(lm: _Model, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        started, clock = time.time(), time.perf_counter()
        async with aclosing(stream(lm, request)) as pieces:
            try:
                async for piece in pieces:
                    if isinstance(piece, LMResponse):
                        _keep(lm, LMCall(started, time.perf_counter() - clock, lm.config.model, request, piece))
                    yield piece
            except DSPExError as error:
                _keep(lm, LMCall(started, time.perf_counter() - clock, lm.config.model, request, None, _said(error)))
                raise

    return remembering


def _keep(lm: _Remembering, call: LMCall) -> None:
    lm.history.append(call)
    recent_calls.append(call)


def _said(error: DSPExError) -> str:
    return f"{type(error).__name__}: {error}"
