import asyncio
import math
import os
import threading
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from dspex_core.errors import RetrievalError
from dspex_core.lm import retrying
from dspex_core.redaction import keep_secret, redacted
from dspex_core.retrieval._embedding_index import Embeds
from dspex_core.retrieval._extra import require
from dspex_core.retrieval._passages import Source, passages_of
from dspex_core.retrieval._ranking import checked_k
from dspex_core.seam import Passage

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")

KEY_VARIABLE = "QDRANT_API_KEY"
IN_MEMORY = ":memory:"
_BATCH = 256
_POINTS = uuid.UUID("6f8b0c62-4a0e-5d0f-9d55-0f2f6a3c9e10")


class QdrantIndex:
    """Finds passages by meaning in a Qdrant collection: of a server, of a folder, or in memory.

        index = QdrantIndex("docs", embedder=Embedder(), location="http://127.0.0.1:6333")
        await index.add(texts)
        passages = await index.search("where is Rome?", k=3)

    A folder belongs to one process at a time. A server's failures are tried again as a model's are.

    Args:
        collection: Name of the collection; the first `add` creates it.
        embedder: What makes vectors of passages and queries.
        location: URL of a server, a folder, or ":memory:".
        api_key: The server's key, if not in QDRANT_API_KEY.
        timeout_seconds: Longest wait for one answer of a server.

    Raises:
        ConfigurationError: If qdrant-client is not installed.
    """

    def __init__(
        self,
        collection: str,
        *,
        embedder: Embeds,
        location: str | Path = IN_MEMORY,
        api_key: str | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        require("qdrant_client")
        self._collection = collection
        self._embedder = embedder
        self._location = str(location)
        self._api_key = api_key or os.environ.get(KEY_VARIABLE)
        self._timeout_seconds = timeout_seconds
        self._client: QdrantClient | None = None
        # Local mode is not made for threads; a server's client is, and needs no turns.
        self._turn = threading.Lock()
        self._opening = threading.Lock()
        if self._api_key:
            keep_secret(self._api_key)

    @property
    def is_server(self) -> bool:
        """Whether the collection is a server's, and not of this process alone."""
        return self._location.startswith(("http://", "https://"))

    async def add(self, sources: Iterable[Source], *, text_field: str = "text", id_field: str = "id") -> None:
        """Add texts, records or passages; one whose id is there already replaces it.

        Ids default to positions, so give ids of your own to what is added in several calls.

        Raises:
            DatasetError: If a source holds no text, or two have the same id.
            RetrievalError: If the collection cannot be written to.
            LMError: If the embedder failed.
        """
        from qdrant_client import models  # noqa: PLC0415 - comes with dspex[retrieval]

        passages = passages_of(sources, text_field=text_field, id_field=id_field)
        vectors = await self._embedder.embed([passage.text for passage in passages])
        points = [
            models.PointStruct(
                # Qdrant takes no id but numbers and UUIDs; the same id gives the same UUID everywhere.
                id=str(uuid.uuid5(_POINTS, passage.id)),
                vector=vector.tolist(),
                payload=passage.model_dump(exclude={"score"}),
            )
            for passage, vector in zip(passages, vectors, strict=True)
        ]
        await self._asked(lambda client: self._create(client, vectors.shape[1]))
        for at in range(0, len(points), _BATCH):
            batch = points[at : at + _BATCH]
            await self._asked(lambda client, batch=batch: client.upsert(self._collection, batch, wait=True))

    async def search(self, query: str, k: int) -> list[Passage]:
        """The `k` passages most like the query, the likest first; scores are cosines, -1 to 1.

        Raises:
            RetrievalError: If there is no such collection, or the server cannot be reached.
            LMError: If the embedder failed.
        """
        wanted = checked_k(k)
        vector: list[float] = (await self._embedder.embed([query]))[0].tolist()
        found = await self._asked(lambda client: client.query_points(self._collection, query=vector, limit=wanted))
        return [Passage.model_validate({**(point.payload or {}), "score": point.score}) for point in found.points]

    async def count(self) -> int:
        """How many passages the collection has.

        Raises:
            RetrievalError: If there is no such collection, or the server cannot be reached.
        """
        return (await self._asked(lambda client: client.count(self._collection))).count

    async def close(self) -> None:
        """Close the connections, and let go of the folder."""
        client, self._client = self._client, None
        if client is not None:
            await asyncio.to_thread(client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def _create(self, client: "QdrantClient", dimensions: int) -> None:
        from qdrant_client import models  # noqa: PLC0415 - comes with dspex[retrieval]

        if not client.collection_exists(self._collection):
            vectors = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
            client.create_collection(self._collection, vectors_config=vectors)

    async def _asked(self, question: "Callable[[QdrantClient], T]") -> T:
        async for attempt in retrying():
            with attempt:
                return await asyncio.to_thread(self._ask, question)
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def _ask(self, question: "Callable[[QdrantClient], T]") -> T:
        from qdrant_client.common.client_exceptions import QdrantException  # noqa: PLC0415 - dspex[retrieval]
        from qdrant_client.http.exceptions import (  # noqa: PLC0415 - dspex[retrieval]
            ResponseHandlingException,
            UnexpectedResponse,
        )

        try:
            if self.is_server:
                return question(self._open())
            with self._turn:
                return question(self._open())
        except ResponseHandlingException as error:
            said = f"the server cannot be reached ({error.source}): start it, or correct its URL"
            raise self._failed(said, again=True) from None
        except UnexpectedResponse as error:
            status = error.status_code or 0
            again = status == 429 or status >= 500  # noqa: PLR2004 - HTTP
            raise self._failed(f"the server refused, status {status}: {_told(error.content)}", again=again) from None
        except (QdrantException, ValueError, RuntimeError, OSError) as error:
            raise self._failed(str(error)) from None

    def _open(self) -> "QdrantClient":
        with self._opening:
            if self._client is None:
                self._client = self._connected()
            return self._client

    def _connected(self) -> "QdrantClient":
        from qdrant_client import QdrantClient  # noqa: PLC0415 - comes with dspex[retrieval]

        if self.is_server:
            return QdrantClient(
                url=self._location,
                api_key=self._api_key,
                timeout=math.ceil(self._timeout_seconds),
                # It would ask a server that may not be there, and warn.
                check_compatibility=False,
            )
        if self._location == IN_MEMORY:
            return QdrantClient(location=IN_MEMORY)
        # `_turn` keeps threads apart, which SQLite's own check does not see.
        return QdrantClient(path=self._location, force_disable_check_same_thread=True)

    def _failed(self, what: str, *, again: bool = False) -> RetrievalError:
        return RetrievalError(
            redacted(f"Qdrant collection {self._collection!r} at {self._location}: {what}"), retryable=again
        )


def _told(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")[:500]
