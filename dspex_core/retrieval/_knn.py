import asyncio
import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from pydantic_core import to_jsonable_python

from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.record import Example, require_inputs
from dspex_core.retrieval._embedding_index import EmbeddingIndex, Embeds
from dspex_core.seam import Passage, query_of
from dspex_core.synchronous import in_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class KNN:
    """Finds the training examples whose inputs are most like a question's.

        nearest = KNN(3, trainset, Embedder("openai/text-embedding-3-small"))
        examples = await nearest(text="I was charged twice")

    It is a retriever, too: kept in a module of yours, `Retrieve(retriever="my_app.data:nearest")` and the runtime's
    `retrieve` search it, and so do workers. A passage's `metadata` has the whole example under "example", its input
    names under "inputs" and its place in the trainset under "row".

    The trainset is embedded once, when it is first searched. Safe to share between tasks, loops and threads.

    Args:
        k: How many examples; fewer if there are fewer.
        trainset: Examples that know their inputs.
        vectorizer: An `Embedder`, or a function of a list of texts that gives an array with a vector a text. One that
            is not async runs in a thread.

    Raises:
        ConfigurationError: If `k` is below 1, or `vectorizer` is none.
        DatasetError: If there is no example, or one does not know its inputs.
        LMError: When called, if the embedder failed.

    Source: DSPy's class of that name. Likeness is the cosine of the vectors; of equals, the first in the trainset.
    """

    def __init__(
        self,
        k: int,
        trainset: Sequence[Example],
        vectorizer: "Embeds | Callable[[list[str]], Any]",
    ) -> None:
        if k < 1:
            raise ConfigurationError(f"KNN: k={k}; ask for 1 example or more")
        if not trainset:
            raise DatasetError("KNN: the trainset has no examples")
        require_inputs(trainset, what="KNN")
        self.k = k
        self.trainset = list(trainset)
        self._embedder = _embedder(vectorizer)
        self._index: EmbeddingIndex | None = None
        self._building: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def __call__(self, **inputs: Any) -> list[Example]:
        """The `k` nearest examples, the nearest first.

        Args:
            **inputs: A question's input fields by name.
        """
        order = (name for name in self.trainset[0].input_names if name in inputs)
        query = self.query(dict.fromkeys(order) | inputs)
        return [self.trainset[passage.metadata["row"]] for passage in await self.search(query, self.k)]

    @staticmethod
    def query(inputs: dict[str, Any]) -> str:
        """Input fields as the text that is searched for."""
        return query_of(inputs)

    async def search(self, query: str, k: int) -> list[Passage]:
        """The `k` nearest examples to a text that `query` made, as passages."""
        if self._index is None:
            # A lock belongs to one loop; two loops at most embed the same twice.
            async with self._building.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                if self._index is None:
                    self._index = await EmbeddingIndex.build(self._passages(), self._embedder)
        return await self._index.search(query, k)

    def _passages(self) -> list[Passage]:
        return [
            Passage(
                text=self.query(example.inputs()),
                id=str(row),
                metadata={
                    "row": row,
                    "inputs": list(example.input_names),
                    "example": to_jsonable_python(example.to_dict(), fallback=str),
                },
            )
            for row, example in enumerate(self.trainset)
        ]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Programs are copied often; the examples and their vectors never change.
        return self


class _Function:
    """A function that makes vectors, as an embedder."""

    def __init__(self, function: Callable[[list[str]], Any]) -> None:
        self._function = function

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        import numpy as np  # noqa: PLC0415 - comes with dspex[retrieval]

        found = await in_thread(lambda: self._function(list(texts)))
        return np.asarray(await found if inspect.isawaitable(found) else found, dtype=np.float32)


def _embedder(vectorizer: Any) -> Embeds:
    if hasattr(vectorizer, "embed"):
        return cast("Embeds", vectorizer)
    if callable(vectorizer):
        return _Function(cast("Callable[[list[str]], Any]", vectorizer))
    raise ConfigurationError(
        f"KNN: the vectorizer is a {type(vectorizer).__name__}: give an Embedder or a function of texts"
    )
