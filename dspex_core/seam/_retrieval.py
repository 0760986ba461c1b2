from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from dspex_core.references import CodeReference


class Passage(BaseModel):
    """A piece of text that a search can find.

    Attributes:
        text: What a model gets to read.
        score: How well it fits the query; the higher the better, comparable within one search only.
        id: What tells it apart from the other passages of its index.
        metadata: Anything else known of it, as JSON values.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    score: float = 0.0
    id: str = ""
    metadata: dict[str, Any] = {}


def query_of(inputs: Mapping[str, Any]) -> str:
    """Input fields as the text that is searched for, where examples like them are wanted."""
    return " | ".join(f"{name}: {value}" for name, value in inputs.items())


@runtime_checkable
class Retriever(Protocol):
    """Finds passages. Anything with this one method is a retriever."""

    async def search(self, query: str, k: int) -> Sequence[Passage]:
        """The passages that fit the query best, the best one first.

        Args:
            query: What is looked for.
            k: The most passages wanted; fewer are given where fewer fit.

        Raises:
            RetrievalError: If the search failed.
            LMError: If it asks a model, and that call failed.
        """
        ...


class RetrieveRequest(BaseModel):
    """One search.

    Attributes:
        query: What is looked for.
        k: The most passages wanted.
        retriever: A retriever at hand, or where one is imported from; None means the runtime's own.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    query: str
    k: int
    retriever: Retriever | CodeReference | None = None
