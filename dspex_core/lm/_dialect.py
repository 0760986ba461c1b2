from typing import Any, ClassVar, Protocol

from dspex_core.lm._capabilities import Capabilities
from dspex_core.redaction import redacted
from dspex_core.seam import LMRequest, LMResponse


class AnswerFailed(Exception):  # noqa: N818 - it never leaves the room; an LMError says it to users
    """The provider says in the place of an answer, or in the middle of one, what went wrong.

    Args:
        detail: What it says.
        code: Its word for the kind of error.
    """

    def __init__(self, detail: str, *, code: str) -> None:
        # A provider may quote the key.
        super().__init__(redacted(detail))
        self.detail = redacted(detail)
        self.code = code


class StreamReader(Protocol):
    """Puts one answer together from the events of its stream."""

    def read(self, event: Any) -> str:
        """The text that an event adds, often none.

        Raises:
            AnswerFailed: If it says that no answer will come.
            TypeError, AttributeError, KeyError, IndexError, ValueError: If it is none of this API's.
        """
        ...

    def response(self) -> LMResponse | None:
        """The whole answer, or None if it did not end. Raises as `read` does."""
        ...


class Dialect(Protocol):
    """One API: how it takes requests, and how it answers.

    Attributes:
        path: Where it is, after the address.
        forms: Forms of structured output, the strongest first; the last asks for none.
    """

    path: ClassVar[str]
    forms: ClassVar[tuple[str, ...]]

    def body(self, request: LMRequest, known: Capabilities, *, stream: bool) -> dict[str, Any]:
        """A request's body, in the terms that the model takes."""
        ...

    def response(self, answer: Any) -> LMResponse:
        """What an answer says. Raises as `StreamReader.read` does."""
        ...

    def reader(self) -> StreamReader:
        """What reads a new stream."""
        ...
