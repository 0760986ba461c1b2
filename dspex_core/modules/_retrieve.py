import copy
from collections.abc import Collection
from typing import Any, Self

import pydantic

from dspex_core.errors import ConfigurationError, ProgramError
from dspex_core.invalid import first_problem
from dspex_core.modules._module import Module
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.references import CodeReference, reference_to, require_trust
from dspex_core.seam import Retriever, RetrieveRequest, Runtime, current_runtime

QUERY_FIELDS = ("query", "question")
"""Inputs that are searched for where no field is named: the first of them that is given."""


class Retrieve(Module):
    """A search: a query in, passages out.

        rag = Retrieve(k=3, retriever=index) | ChainOfThought("context: list[str], question -> answer")

    The prediction has the texts found in `context`, the best one first, and the whole passages in `passages`.

    Args:
        k: The most passages wanted.
        retriever: What searches: an object such as `BM25Index`, or, for programs that are sent to workers, where one
            is imported from as 'package.module:attribute'. None: the one in force, see `using(lm=…, retriever=…)`.
        query_field: The input that is searched for; None takes `query` if that is given, or else `question`.
        output_field: The output with the texts.

    Raises:
        ConfigurationError: If `k` is not positive, or `retriever` is none; when called, if no retriever is in force.
        RetrievalError: When called, if the search failed.
        ProgramError: When called, if the query is missing or no text.
    """

    def __init__(
        self,
        k: int = 3,
        *,
        retriever: Retriever | CodeReference | str | None = None,
        query_field: str | None = None,
        output_field: str = "context",
    ) -> None:
        if k < 1:
            raise ConfigurationError(f"Retrieve(k={k}): ask for 1 passage or more")
        if output_field == "passages":
            raise ConfigurationError("Retrieve: the output 'passages' holds the whole passages; name another for texts")
        self.k = k
        self.query_field = query_field
        self.output_field = output_field
        self._retriever = _checked(retriever)

    async def forward(self, **inputs: Any) -> Prediction:
        """Search."""
        request = RetrieveRequest(query=self._query(inputs), k=self.k, retriever=self._retriever)
        passages = await _runtime().retrieve(request)
        return Prediction({self.output_field: [passage.text for passage in passages], "passages": passages})

    def input_names(self) -> dict[str, bool]:
        """The query's field; where none was named, either of the two it looks for."""
        return dict.fromkeys(QUERY_FIELDS, False) if self.query_field is None else {self.query_field: True}

    def output_names(self) -> set[str]:
        """The field with the texts, and `passages`."""
        return {self.output_field, "passages"}

    def reference(self) -> ProgramReference:
        """The module and its options, written out; for a subclass, where it is imported from.

        Raises:
            ProgramError: If the retriever was given as an object, or its import path leads nowhere.
        """
        if type(self) is not Retrieve:
            return super().reference()
        options: dict[str, Any] = {"k": self.k, "query_field": self.query_field, "output_field": self.output_field}
        if self._retriever is not None:
            options["retriever"] = self._importable(self._retriever).model_dump()
        return DeclaredProgram(module="retrieve", options=options)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Self:
        """The module that `reference` wrote out.

        Raises:
            ProgramError: If the options are not those of a Retrieve.
        """
        try:
            given = _Options.model_validate(options)
        except pydantic.ValidationError as error:
            where, what = first_problem(error)
            raise ProgramError(f"a retrieve is declared with options that do not fit: {where}: {what}") from None
        return cls(**dict(given))

    def require_trust(self, trust: Collection[str] | None) -> None:
        """Refuse a retriever that may not be imported here; None trusts all.

        Raises:
            TrustError: If its package is not trusted.
        """
        if isinstance(self._retriever, CodeReference):
            require_trust(self._retriever, trust=trust, what="retriever")

    def _query(self, inputs: dict[str, Any]) -> str:
        names = QUERY_FIELDS if self.query_field is None else (self.query_field,)
        unknown = [name for name in inputs if name not in names]
        if unknown:
            raise ProgramError(f"there is no input {unknown[0]!r}; Retrieve takes {' or '.join(names)}")
        query = next((inputs[name] for name in names if name in inputs), None)
        if not isinstance(query, str):
            given = "nothing" if query is None else f"a {type(query).__name__}"
            raise ProgramError(f"Retrieve searches for the text in {' or '.join(map(repr, names))}; it got {given}")
        return query

    def _importable(self, retriever: Retriever | CodeReference) -> CodeReference:
        if isinstance(retriever, CodeReference):
            # Written down anew: the digest is that of the source as it is here and now.
            return reference_to(retriever.path, what="retriever")
        raise ProgramError(
            f"this Retrieve holds a {type(retriever).__name__}, an object of this process: no worker and no file can "
            "have it. Keep it in a module and write Retrieve(retriever='package.module:attribute'); a program that "
            "stays in this process can leave it out and run under `using(lm=…, retriever=…)`"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Programs are copied often; an index is large, and the copy means the same one.
        clone = copy.copy(self)
        memo[id(self)] = clone
        return clone


class _Options(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    k: int = pydantic.Field(default=3, ge=1)
    retriever: CodeReference | None = None
    query_field: str | None = None
    output_field: str = "context"


def _runtime() -> Runtime:
    try:
        return current_runtime()
    except ConfigurationError:
        raise ConfigurationError(
            "nothing is set up to search with: wrap the call in `with using(retriever=…):`, with lm=… if the program "
            "asks a model, or call configure(lm=…, retriever=…) once"
        ) from None


def _checked(retriever: Any) -> Retriever | CodeReference | None:
    if isinstance(retriever, str):
        return CodeReference(path=retriever)
    if isinstance(retriever, type) or not isinstance(retriever, (Retriever, CodeReference, type(None))):
        name = retriever.__name__ if isinstance(retriever, type) else type(retriever).__name__
        raise ConfigurationError(
            f"Retrieve(retriever=…): {name} is no retriever: it needs a method `async def search(self, query, k)`"
        )
    return retriever
