import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from dspex_core.errors import RetrievalError
from dspex_core.retrieval._embedder import Embedder
from dspex_core.retrieval._extra import require
from dspex_core.retrieval._folder import damaged, read_index, write_index
from dspex_core.retrieval._passages import Source, passages_of
from dspex_core.retrieval._ranking import best, checked_k
from dspex_core.seam import Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KIND = "embedding"
_VECTORS = "vectors.npy"


class Embeds(Protocol):
    """Turns texts into vectors: `Embedder`, or anything with this one method."""

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """One vector a text, in the texts' order: an array of shape (texts, dimensions)."""
        ...


class EmbeddingIndex:
    """Finds passages by meaning: those whose vectors point most nearly where the query's does (cosine).

        index = await EmbeddingIndex.build(texts, Embedder("openai/text-embedding-3-small"))
        passages = await index.search("where is Rome?", k=3)

    It compares the query with every passage, in memory: fit for some hundred thousand; take `QdrantIndex` for more.

    Args:
        passages: What it finds.
        vectors: A vector a passage, in the same order.
        embedder: What made the vectors, and makes the queries'.

    Raises:
        RetrievalError: If there are not as many vectors as passages.
    """

    def __init__(self, passages: Sequence[Passage], vectors: "NDArray[np.float32]", embedder: Embeds) -> None:
        if vectors.ndim != 2 or len(vectors) != len(passages):  # noqa: PLR2004 - passages by dimensions
            raise RetrievalError(f"{len(passages)} passages cannot have vectors of shape {vectors.shape}")
        self._passages = list(passages)
        self._vectors = _unit(vectors)
        self._embedder = embedder

    @classmethod
    async def build(
        cls, sources: Iterable[Source], embedder: Embeds, *, text_field: str = "text", id_field: str = "id"
    ) -> "EmbeddingIndex":
        """Embed texts, records or passages; the arguments are those of `BM25Index`.

        Raises:
            DatasetError: If a source holds no text, or two have the same id.
            LMError: If the embedder failed.
        """
        passages = passages_of(sources, text_field=text_field, id_field=id_field)
        return cls(passages, await embedder.embed([passage.text for passage in passages]), embedder)

    def __len__(self) -> int:
        return len(self._passages)

    async def search(self, query: str, k: int) -> list[Passage]:
        """The `k` passages most like the query, the likest first; scores are cosines, -1 to 1.

        Raises:
            RetrievalError: If the embedder gives vectors of another length than the index has.
            LMError: If the embedder failed.
        """
        wanted = checked_k(k)
        asked = _unit(await self._embedder.embed([query]))
        if asked.shape[1] != self._vectors.shape[1]:
            raise RetrievalError(
                f"the index has vectors of {self._vectors.shape[1]} dimensions, the embedder gives {asked.shape[1]}: "
                "build the index with the embedder that searches it"
            )
        found = await asyncio.to_thread(lambda: best(self._vectors @ asked[0], wanted))
        return [self._passages[at].model_copy(update={"score": score}) for at, score in found]

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder, as JSON and one plain array.

        Raises:
            RetrievalError: If it cannot be written, or the folder holds something else.
        """
        import numpy as np  # noqa: PLC0415 - comes with dspex[retrieval]

        settings = self._embedder.settings if isinstance(self._embedder, Embedder) else None
        write_index(
            folder,
            KIND,
            facts={"passages": len(self), "embedder": settings},
            passages=self._passages,
            write_rest=lambda draft: np.save(draft / _VECTORS, self._vectors, allow_pickle=False),
        )

    @classmethod
    def load(cls, folder: str | Path, embedder: Embeds | None = None) -> "EmbeddingIndex":
        """Read an index that `save` wrote.

        Args:
            folder: Where it lies.
            embedder: What embeds the queries; None takes the model that the index was built with, and the key from
                the environment.

        Raises:
            RetrievalError: If there is none, it is damaged, or its embedder is not known.
        """
        require("numpy")
        import numpy as np  # noqa: PLC0415 - comes with dspex[retrieval]

        facts, passages = read_index(folder, KIND)
        try:
            vectors = cast("NDArray[np.float32]", np.load(Path(folder) / _VECTORS, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise damaged(folder, error) from None
        if embedder is None and facts.get("embedder") is None:
            raise RetrievalError(f"the index in {folder} was built by an embedder of your own: pass it to load(…)")
        return cls(passages, vectors, embedder or Embedder(**facts["embedder"]))


def _unit(vectors: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """The vectors at length 1; those of length 0 stay."""
    import numpy as np  # noqa: PLC0415 - comes with dspex[retrieval]

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
