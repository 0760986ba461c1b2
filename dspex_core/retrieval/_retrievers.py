import asyncio
import threading
from collections.abc import Collection
from typing import Any

from dspex_core.errors import DSPExError, ProgramError
from dspex_core.references import CodeReference, import_code
from dspex_core.seam import Retriever


class Retrievers:
    """Retrievers by where they are imported from; each is made once. Safe to share between tasks, loops and threads.

    Args:
        trust: Packages that they may be imported from; None trusts all, in whatever version is here.
    """

    def __init__(self, *, trust: Collection[str] | None) -> None:
        self._trust = trust
        self._found: dict[CodeReference, Retriever] = {}
        self._making = threading.Lock()

    async def find(self, reference: CodeReference) -> Retriever:
        """The retriever that a reference names: an object, or what a class or function without arguments makes.

        Raises:
            TrustError: If its package is not trusted, or its source differs from the reference's.
            ProgramError: If there is nothing of that name, or it is no retriever.
        """
        known = self._found.get(reference)
        # A module that reads an index while it is imported takes its time, and the loop has other work.
        return await asyncio.to_thread(self._make, reference) if known is None else known

    def _make(self, reference: CodeReference) -> Retriever:
        with self._making:
            if reference not in self._found:
                self._found[reference] = _made(reference, import_code(reference, trust=self._trust, what="retriever"))
            return self._found[reference]


def _made(reference: CodeReference, named: Any) -> Retriever:
    made = named
    if callable(named) and (isinstance(named, type) or not isinstance(named, Retriever)):
        try:
            made = named()
        except DSPExError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's function may fail in any way
            raise ProgramError(
                f"retriever {reference.path!r} cannot be made: {type(error).__name__}: {error}; "
                "it must need no arguments"
            ) from None
    if not isinstance(made, Retriever):
        raise ProgramError(
            f"{reference.path} gives a {type(made).__name__}, which is no retriever: "
            "it needs a method `async def search(self, query, k)`"
        )
    return made
