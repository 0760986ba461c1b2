import inspect
from collections.abc import Awaitable, Sequence
from typing import Any

from dspex_core.errors import DSPExError, RetrievalError
from dspex_core.seam import Passage, Retriever


async def passages_found(retriever: Retriever, query: str, k: int) -> list[Passage]:
    """What a retriever finds, whoever wrote it.

    Raises:
        RetrievalError: If it fails in a way of its own, or gives something else than passages.
        DSPExError: As the retriever says.
    """
    name = type(retriever).__name__
    try:
        found: list[Any] = list(await _begun(retriever.search(query, k), name))
    except DSPExError:
        raise
    except Exception as error:
        raise RetrievalError(f"the retriever {name} failed: {type(error).__name__}: {error}") from error
    for passage in found:
        if not isinstance(passage, Passage):
            raise RetrievalError(
                f"the retriever {name} gave a {type(passage).__name__} where a Passage is needed: "
                "Passage(text=…, score=…), from dspex_core.retrieval"
            )
    return found


def _begun(search: Any, name: str) -> Awaitable[Sequence[Any]]:
    if not inspect.isawaitable(search):
        raise RetrievalError(f"the retriever {name} is not async: write `async def search(self, query, k)`")
    return search
