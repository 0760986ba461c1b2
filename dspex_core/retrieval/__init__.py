"""Retrieval: indexes that find passages, and the embeddings that some of them compare.

What they are built on (bm25s, numpy, qdrant-client) comes with `dspex[retrieval]` and is imported when used.
"""

from dspex_core.retrieval._bm25 import BM25Index
from dspex_core.retrieval._embedder import Embedder
from dspex_core.retrieval._embedding_index import EmbeddingIndex, Embeds
from dspex_core.retrieval._knn import KNN
from dspex_core.retrieval._passages import passages_of
from dspex_core.retrieval._qdrant import QdrantIndex
from dspex_core.retrieval._retrievers import Retrievers
from dspex_core.seam import Passage, Retriever

__all__ = [
    "KNN",
    "BM25Index",
    "Embedder",
    "EmbeddingIndex",
    "Embeds",
    "Passage",
    "QdrantIndex",
    "Retriever",
    "Retrievers",
    "passages_of",
]
