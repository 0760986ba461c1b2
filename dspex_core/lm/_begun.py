import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from dspex_core.lm._accounting import answered
from dspex_core.seam import LMResponse


@dataclass
class Begun:
    """A stream whose first piece has come, and what ends it and gives its slot back."""

    first: str | LMResponse
    pieces: AsyncGenerator[str | LMResponse]
    held: AsyncExitStack
    sent_at: float
    retries: int

    async def all_pieces(self) -> AsyncGenerator[str | LMResponse]:
        """The first and the others; the response knows what it took."""
        piece: str | LMResponse | None = self.first
        while piece is not None:
            if isinstance(piece, LMResponse):
                yield answered(piece, seconds=time.monotonic() - self.sent_at, retries=self.retries)
            else:
                yield piece
            piece = await anext(self.pieces, None)
