"""What the APIs have in common: a question to the model, what it says, and how that leaves the server."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web
from pydantic import ValidationError

from dspex_core.testing.fake_provider._prompt import Message

_CHARACTERS_PER_TOKEN = 4


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


@dataclass(frozen=True)
class ToolSpec:
    """A function that the model may call: its name, what it is for, and the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class ToolCall:
    """A function that the model wants called, and with what."""

    name: str
    arguments: dict[str, Any]

    def json_arguments(self) -> str:
        """The arguments as the model writes them."""
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True)
class Call:
    """What the model is asked, in no API's own words.

    Attributes:
        turns: The messages, as roles and texts.
        salt: The request without its messages, as text: it decides between equal candidates.
        temperature: How far apart two candidates may be and still count as equal.
        wants_json: Whether nothing but a JSON object will do.
        schema: What that object has to fit.
        tools: What the model may call.
        demanded: The tool that it must call, or "*" for any.
    """

    turns: tuple[Message, ...]
    salt: str
    temperature: float = 0.0
    wants_json: bool = False
    schema: dict[str, Any] | None = None
    tools: tuple[ToolSpec, ...] = ()
    demanded: str | None = None

    def asked(self) -> str:
        """The last user message, and what tools answered after it."""
        last = max((number for number, (role, _) in enumerate(self.turns) if role == "user"), default=0)
        return "\n".join(text for role, text in self.turns[last:] if role in ("user", "tool"))

    def tools_answered(self) -> bool:
        """Whether it is a tool's answer that the model is asked about."""
        return self.turns[-1][0] == "tool"

    def prompt_tokens(self) -> int:
        """What the messages and the tools cost."""
        specs = [[tool.name, tool.description, tool.parameters] for tool in self.tools]
        return sum(tokens(text) for _, text in self.turns) + (tokens(json.dumps(specs)) if specs else 0)


@dataclass(frozen=True)
class Said:
    """What the model answers: a text, calls of tools, or both."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()

    def completion_tokens(self) -> int:
        """What the answer costs."""
        return tokens(self.text) + sum(tokens(call.name + call.json_arguments()) for call in self.tool_calls)


Mind = Callable[[Call], Said]
"""What answers a call."""


@dataclass(frozen=True)
class Answer:
    """An answer as it leaves the server.

    Attributes:
        body: The whole body, of an answer that is not streamed.
        events: The server-sent events of one that is, each as it goes over the wire.
        prompt_tokens: What the usage says of the question.
        completion_tokens: What it says of the answer.
    """

    body: bytes = b""
    events: Iterable[bytes] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0


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

    def answer(self, mind: Mind, chunk_characters: int) -> Answer:
        """The answer; text comes in pieces of so many characters if it is streamed."""
        ...

    def malformed(self, *, broken_json: bool) -> bytes:
        """A body that is cut off, or one that is JSON without what an answer must have."""
        ...


class Api(Protocol):
    """How an API reads requests and words errors."""

    def read(self, raw: bytes) -> Exchange | Refusal:
        """The request in a body, or why it cannot be served."""
        ...

    def refuse(self, refusal: Refusal) -> web.Response:
        """An error as the API words it."""
        ...


def tokens(text: str) -> int:
    """Four characters are a token."""
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def digest(body: object) -> bytes:
    """Equal for equal JSON content, whatever the order of its keys."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).digest()


def salt(body: dict[str, Any], *, without: str) -> str:
    """A request's JSON without its messages, and without what only says how the answer is to be sent."""
    left_out = {without, "stream", "stream_options"}
    return json.dumps({key: value for key, value in body.items() if key not in left_out}, sort_keys=True)


def pieces(text: str, size: int) -> list[str]:
    """A text in pieces of so many characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def invalid(error: ValidationError) -> Refusal:
    """Status 400 for a body that does not fit, naming what is wrong with it first."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return Refusal(400, f"Invalid request at `{where}`: {first['msg']}.", param=where or None)


NOT_JSON = Refusal(400, "The body of your request is not valid JSON.")
