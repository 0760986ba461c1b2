import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from temporalio import activity
from temporalio.service import RPCError

from dspex_core.events import TextStreamed
from dspex_core.modules import Module
from dspex_core.record import Prediction
from dspex_core.requests import StreamedPieces, StreamedText
from dspex_core.seam import LMResponse

TELL_SECONDS = 0.3
"""Between two signals: each is some entries in the history."""


async def relayed(answer: AsyncGenerator[str | LMResponse], *, call: int) -> LMResponse:
    """Read a model's answer, and tell the workflow its text as it comes.

    Args:
        answer: Pieces of text, and at last the response.
        call: The call's number in the workflow.
    """
    text, told, response = "", 0, LMResponse(text="")

    async def tell() -> None:
        nonlocal told
        if len(text) > told:
            so_far = len(text)
            await _signal("streamed", StreamedText(call=call, start=told, text=text[told:so_far]))
            told = so_far

    async with _now_and_then(tell), aclosing(answer) as pieces:
        async for piece in pieces:
            if isinstance(piece, LMResponse):
                response = piece
            else:
                text += piece
    return response


async def relayed_program(program: Module, inputs: dict[str, Any]) -> Prediction:
    """Run a program, and tell the workflow the pieces of its outputs as they come."""
    waiting: list[TextStreamed] = []
    prediction = Prediction({})

    async def tell() -> None:
        if waiting:
            pieces = tuple(waiting)
            await _signal("streamed_pieces", StreamedPieces(pieces=pieces))
            del waiting[: len(pieces)]

    async with _now_and_then(tell), aclosing(program.stream(**inputs)) as items:
        async for item in items:
            if isinstance(item, Prediction):
                prediction = item
            else:
                waiting.append(
                    TextStreamed(predictor=item.predictor, field=item.field, text=item.text, attempt=item.attempt)
                )
    return prediction


@asynccontextmanager
async def _now_and_then(tell: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """Call it a few times a second, and once more in the end. Who streams does not fail for it."""
    ending = asyncio.Event()

    async def keep_telling() -> None:
        while not ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), TELL_SECONDS)
            with suppress(RPCError):
                await tell()

    telling = asyncio.create_task(keep_telling())
    try:
        yield
    finally:
        # Not cancelled: half a signal may have arrived.
        ending.set()
        await telling


async def _signal(name: str, value: StreamedText | StreamedPieces) -> None:
    info = activity.info()
    workflow = activity.client().get_workflow_handle(info.workflow_id or "", run_id=info.workflow_run_id)
    await workflow.signal(name, value)
