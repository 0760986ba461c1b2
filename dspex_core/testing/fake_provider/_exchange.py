"""What the APIs have in common: how requests come in, and how answers and errors go out."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from aiohttp import web
from pydantic import ValidationError

from dspex_core.testing.fake_provider._call import Call, Said

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered, in no API's own words.

    Attributes:
        status: The HTTP status.
        message: A sentence for whoever reads the error.
        code: A name that programs can tell the error by.
        param: The parameter to blame.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None


Mind = Callable[[Call], Said]
"""What answers a call."""


@dataclass(frozen=True)
class Usage:
    """What an exchange cost, in tokens.

    Attributes:
        prompt_tokens: The whole question.
        completion_tokens: The whole answer.
        cached_tokens: Of the question, what was read from the prompt cache.
        cache_written_tokens: Of the question, what was written to it.
        reasoning_tokens: Of the answer, what is not shown.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    reasoning_tokens: int = 0

    @classmethod
    def of(cls, call: Call, said: Said, *, cached_tokens: int = 0) -> Self:
        """What a call and the answer to it cost."""
        reasoning = said.reasoning_tokens()
        return cls(call.prompt_tokens(), said.visible_tokens() + reasoning, cached_tokens, reasoning_tokens=reasoning)


@dataclass(frozen=True)
class Answer:
    """An answer as it leaves the server.

    Attributes:
        usage: What it cost.
        body: The whole body, of an answer that is not streamed.
        events: The server-sent events of one that is, each as it goes over the wire.
    """

    usage: Usage
    body: bytes = b""
    events: Iterable[bytes] = ()


class Exchange(Protocol):
    """One request, checked, that can be answered in its API's own words."""

    @property
    def content(self) -> bytes:
        """The digest of the request's JSON content: equal for equal requests."""
        ...

    @property
    def stream(self) -> bool:
        """Whether the answer is to come in pieces."""
        ...

    @property
    def model(self) -> str:
        """The model that is asked."""
        ...

    def answer(self, mind: Mind, chunk_characters: int) -> Answer:
        """The answer; text comes in pieces of so many characters if it is streamed."""
        ...

    def malformed(self, *, broken_json: bool) -> bytes:
        """A body that is cut off, or one that is JSON without what an answer must have."""
        ...

    def stream_error(self, number: int) -> bytes:
        """The event that says, as the so-manieth of a stream, that it cannot go on."""
        ...


class Api(Protocol):
    """How an API reads requests and words errors."""

    @property
    def name(self) -> str:
        """What the endpoint is called in the counts."""
        ...

    def key(self, headers: Headers) -> str | None:
        """The key in a request's headers."""
        ...

    def read(self, raw: bytes) -> Exchange | Refusal:
        """The request in a body, or why it cannot be served."""
        ...

    def refuse(self, refusal: Refusal) -> web.Response:
        """An error as the API words it."""
        ...


def digest(body: object) -> bytes:
    """Equal for equal JSON content, whatever the order of its keys."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).digest()


def salt(body: dict[str, Any], *messages: str) -> str:
    """A request as JSON, without the keys that hold its messages and what only says how the answer is to be sent."""
    left_out = {*messages, "stream", "stream_options"}
    return json.dumps({key: value for key, value in body.items() if key not in left_out}, sort_keys=True)


def bearer_key(headers: Headers) -> str | None:
    """The token of the Authorization header."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and token else None


def written(document: dict[str, Any]) -> bytes:
    """A JSON document as it goes over the wire."""
    return json.dumps(document, ensure_ascii=False).encode()


def event(document: dict[str, Any], *, named: bool = False) -> bytes:
    """A server-sent event; named by the document's type where the API does so."""
    name = f"event: {document['type']}\n".encode() if named else b""
    return name + b"data: " + written(document) + b"\n\n"


def pieces(text: str, size: int) -> list[str]:
    """A text in pieces of so many characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def invalid(error: ValidationError) -> Refusal:
    """Status 400 for a body that does not fit, naming what is wrong with it first."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return Refusal(400, f"Invalid request at `{where}`: {first['msg']}.", param=where or None)


STREAM_FAILED = Refusal(500, "The server had an error while processing the request.")
NOT_JSON = Refusal(400, "The body of your request is not valid JSON.")
