import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from dspex_core.errors import DatasetError
from dspex_core.retrieval._extra import require
from dspex_core.retrieval._folder import damaged, read_index, write_index
from dspex_core.retrieval._passages import Source, passages_of
from dspex_core.retrieval._ranking import best, checked_k
from dspex_core.seam import Passage

KIND = "bm25"
STOP_WORDS = "en"


class BM25Index:
    """Finds passages by the words they share with the query; needs no model and no server.

        index = BM25Index(["Paris is in France.", "Rome is in Italy."])
        passages = await index.search("where is Rome?", k=1)

    Words are compared in lower case, without English stop words. A passage that shares no word is never found.

    Args:
        sources: Texts, records (a mapping each), or passages.
        text_field: The records' field that holds the text.
        id_field: The records' field that tells them apart; all others become metadata.
        k1: How much a word's repetition counts, 0 and up.
        b: How much a passage's length counts, 0 to 1.

    Raises:
        ConfigurationError: If bm25s is not installed.
        DatasetError: If there is no text to search, a source holds none, or two have the same id.

    Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond"; computed by bm25s
    (Lù 2024).
    """

    def __init__(
        self,
        sources: Iterable[Source],
        *,
        text_field: str = "text",
        id_field: str = "id",
        k1: float = 1.5,
        b: float = 0.75,
    ) -> None:
        require("bm25s")
        import bm25s  # noqa: PLC0415 - comes with dspex[retrieval]

        self._passages = passages_of(sources, text_field=text_field, id_field=id_field)
        self._ranker = bm25s.BM25(k1=k1, b=b, backend="numpy")
        words = _tokens([passage.text for passage in self._passages])
        if not any(words):
            raise DatasetError("no passage has a word to search for: all are empty or hold stop words only")
        self._ranker.index(words, show_progress=False)

    def __len__(self) -> int:
        return len(self._passages)

    async def search(self, query: str, k: int) -> list[Passage]:
        """The `k` best passages, the best one first; fewer where fewer share a word with the query."""
        return await asyncio.to_thread(self._search, query, checked_k(k))

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder, as JSON and plain arrays.

        Raises:
            RetrievalError: If it cannot be written, or the folder holds something else.
        """
        write_index(
            folder,
            KIND,
            facts={"passages": len(self)},
            passages=self._passages,
            write_rest=lambda draft: self._ranker.save(str(draft), show_progress=False, allow_pickle=False),
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read an index that `save` wrote.

        Raises:
            RetrievalError: If there is none, or it is damaged.
        """
        require("bm25s")
        import bm25s  # noqa: PLC0415 - comes with dspex[retrieval]

        facts, passages = read_index(folder, KIND)
        try:
            ranker = bm25s.BM25.load(str(folder), show_progress=False, allow_pickle=False)
        except Exception as error:  # noqa: BLE001 - bm25s raises whatever its reading meets
            raise damaged(folder, error) from None
        if not facts["passages"] == len(passages) == ranker.scores["num_docs"]:
            raise damaged(folder, ValueError(f"it holds {len(passages)} of {facts['passages']} passages"))
        index = cls.__new__(cls)
        vars(index).update(_passages=passages, _ranker=ranker)
        return index

    def _search(self, query: str, k: int) -> list[Passage]:
        (words,) = _tokens([query])
        known = [word for word in words if word in self._ranker.vocab_dict]
        if not known:
            return []
        found = best(self._ranker.get_scores(known), k)
        return [self._passages[at].model_copy(update={"score": score}) for at, score in found if score > 0]


def _tokens(texts: list[str]) -> list[list[str]]:
    import bm25s  # noqa: PLC0415 - comes with dspex[retrieval]

    return bm25s.tokenize(texts, stopwords=STOP_WORDS, return_ids=False, show_progress=False)
