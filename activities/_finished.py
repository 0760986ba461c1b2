import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dspex_core.artifacts import ArtifactStore
from dspex_core.requests import ChunkEvaluation, FoundRows, Kept
from dspex_core.usage import Usage

M = TypeVar("M", bound=BaseModel)

READ_AT_ONCE = 32


class Finished:
    """What runs have finished, in the artifact store: a run that goes on from an ended one repeats none of it.

    Args:
        store: Where it is kept.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def once(self, kept: Kept | None, answer: type[M], work: Callable[[], Awaitable[M]]) -> M:
        """The answer that an earlier run found, which costs nothing now; or else do the work, and keep its answer.

        Raises:
            ArtifactError: If the store fails.
        """
        if kept is None:
            return await work()
        known = await self._read(f"{kept.name}/answer", answer) if kept.look else None
        if known is not None:
            return _free(known)
        found = await work()
        await self._store.keep(f"{kept.name}/answer", _written(found))
        return found

    async def keep_rows(self, kept: Kept, chunk: ChunkEvaluation, rows: Sequence[int]) -> None:
        """Keep what came of these rows, which are those of the chunk.

        Raises:
            ArtifactError: If the store fails.
        """
        if rows:
            piece = chunk.model_copy(update={"indices": tuple(rows), "held": None})
            which = hashlib.sha256(",".join(map(str, rows)).encode()).hexdigest()[:16]
            await self._store.keep(f"{kept.name}/{rows[0]}-{which}", _written(piece))

    async def rows(self, kept: Kept) -> FoundRows:
        """What is known of an evaluation's rows, in the order of the rows.

        Raises:
            ArtifactError: If the store fails.
        """
        reading = asyncio.Semaphore(READ_AT_ONCE)

        async def read(name: str) -> ChunkEvaluation | None:
            async with reading:
                return await self._read(name, ChunkEvaluation)

        pieces = await asyncio.gather(*map(read, await self._store.names(kept.name)))
        seen: set[int] = set()
        chunks: list[ChunkEvaluation] = []
        # Two runs of one id may have been at the same rows: what the larger piece says is taken.
        for piece in sorted(filter(None, pieces), key=lambda piece: (-len(piece.scores), piece.indices)):
            if piece.indices is not None and seen.isdisjoint(piece.indices):
                seen.update(piece.indices)
                chunks.append(_free(piece))
        return FoundRows(chunks=tuple(sorted(chunks, key=lambda piece: piece.indices or ())))

    async def _read(self, name: str, answer: type[M]) -> M | None:
        content = await self._store.kept(name)
        try:
            return None if content is None else answer.model_validate_json(content)
        except ValidationError:
            # Written by another version: the work is done again.
            return None


def _written(value: BaseModel) -> bytes:
    return value.model_dump_json(fallback=str).encode()


def _free(answer: M) -> M:
    usage = getattr(answer, "usage", None)
    return answer.model_copy(update={"usage": usage.found_again()}) if isinstance(usage, Usage) else answer
