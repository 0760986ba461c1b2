import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from dspex_core.adapters import FieldReader
from dspex_core.record import Prediction
from dspex_core.seam import LMRequest, LMResponse, current_runtime

BUFFERED_PIECES = 16
"""Pieces that wait for a slow reader; with so many waiting, no more are taken from the model."""


@dataclass(frozen=True, slots=True)
class StreamedPiece:
    """A piece of an output field's text, as it arrived.

        async for piece in program.stream(text="I was charged twice"):
            if isinstance(piece, StreamedPiece):
                print(piece.field, piece.text)

    Attributes:
        predictor: Which predictor of the program it is from, as in `named_predictors`; "self" if the program is one,
            and "" for one that the program made on the way.
        field: The output field. Its pieces, put together, are what the model wrote for it.
        text: The piece.
        attempt: 0, or how often the predictor has asked anew because an answer could not be read: earlier pieces of
            this predictor's call do not count then.
    """

    predictor: str
    field: str
    text: str
    attempt: int = 0


class PieceStream:
    """Takes pieces from the predictors of one run, as fast as they are read.

    Args:
        names: Names of the program's predictors by their `id`.
    """

    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self._waiting: asyncio.Queue[StreamedPiece | Prediction | Exception] = asyncio.Queue(BUFFERED_PIECES)

    async def ask(
        self, request: LMRequest, reader: FieldReader | None, *, predictor: object, attempt: int
    ) -> LMResponse:
        """Ask a model and hand on the pieces of its answer.

        Raises:
            LMError: If the model could not be reached.
        """
        name = self._names.get(id(predictor), "")
        response = LMResponse(text="")
        async with aclosing(current_runtime().stream(request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, LMResponse):
                    response = piece
                elif reader is not None:
                    for field, text in reader.feed(piece):
                        await self._waiting.put(StreamedPiece(name, field, text, attempt))
        for field, text in reader.close() if reader else ():
            await self._waiting.put(StreamedPiece(name, field, text, attempt))
        return response

    async def run(self, work: Callable[[], Awaitable[Prediction]]) -> AsyncGenerator[StreamedPiece | Prediction]:
        """The pieces that arrive while the work is done, and what it gives in the end.

        Raises:
            DSPExError: What the work raises. Closed before its end, the work is cancelled.
        """
        task = asyncio.create_task(self._finish(work))
        try:
            while True:
                item = await self._waiting.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Prediction):
                    return
        finally:
            task.cancel()
            # To await the task itself would take a cancellation of whoever waits here for the task's own.
            await asyncio.wait([task])

    async def _finish(self, work: Callable[[], Awaitable[Prediction]]) -> None:
        outcome: Prediction | Exception
        with _streamed(self):
            try:
                outcome = await work()
            except Exception as error:  # noqa: BLE001 - raised again where the stream is read
                outcome = error
        await self._waiting.put(outcome)


_stream: ContextVar[PieceStream | None] = ContextVar("dspex_stream", default=None)


def current_stream() -> PieceStream | None:
    """The stream that takes the pieces of answers asked for now, if their reader wants pieces."""
    return _stream.get()


@contextmanager
def _streamed(stream: PieceStream) -> Generator[None]:
    token = _stream.set(stream)
    try:
        yield
    finally:
        _stream.reset(token)
