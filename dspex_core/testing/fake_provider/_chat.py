"""OpenAI's chat completions."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._exchange import (
    NOT_JSON,
    Answer,
    Call,
    Mind,
    Refusal,
    Said,
    digest,
    invalid,
    pieces,
    salt,
)
from dspex_core.testing.fake_provider._prompt import Message
from dspex_core.testing.fake_provider._schema import strictness_complaint


class TextPart(BaseModel):
    """A piece of a message; pieces that are no text are passed over."""

    text: str = ""


class ChatMessage(BaseModel):
    """One message of a request."""

    role: str
    content: str | list[TextPart] | None = None

    def text(self) -> str:
        """The message's text, its parts joined."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or ())


class StreamOptions(BaseModel):
    """How a stream is to end."""

    include_usage: bool = False


class JsonSchema(BaseModel):
    """The schema that an answer must fit."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    json_schema: dict[str, Any] = Field(default_factory=dict[str, Any], alias="schema")
    strict: bool | None = None


class TextFormat(BaseModel):
    """Text of any kind."""

    type: Literal["text"]


class ObjectFormat(BaseModel):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(BaseModel):
    """A JSON object of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class ChatRequest(BaseModel):
    """The part of a /v1/chat/completions body that is read."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1)
    messages: list[ChatMessage] = Field(min_length=1)
    temperature: float | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")] | None = None


@dataclass(frozen=True)
class ChatExchange:
    """One request for a chat completion."""

    request: ChatRequest
    call: Call
    content: bytes

    @property
    def stream(self) -> bool:
        """Whether the answer is to come in pieces."""
        return bool(self.request.stream)

    def answer(self, mind: Mind, chunk_characters: int) -> Answer:
        """A `chat.completion`, or the `chat.completion.chunk`s of one."""
        said = mind(self.call)
        prompt_tokens = sum(_openai.tokens(text) for _, text in self.call.turns)
        completion_tokens = _openai.tokens(said.text)
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        if self.stream:
            events = self._events(said, usage, chunk_characters)
            return Answer(events=events, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        return Answer(self._whole(said, usage), prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)

    def malformed(self, *, broken_json: bool) -> bytes:
        """A body that is cut off, or one without choices."""
        start = {"id": f"chatcmpl-{self.content.hex()}", "object": "chat.completion"}
        if broken_json:
            return json.dumps(start)[:-1].encode() + b', "choices": [{"index": 0, "mess'
        return json.dumps(start).encode()

    def _whole(self, said: Said, usage: dict[str, int]) -> bytes:
        message = {"role": "assistant", "content": said.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return _written(self._head("chat.completion") | {"choices": [choice], "usage": usage})

    def _events(self, said: Said, usage: dict[str, int], chunk_characters: int) -> Iterator[bytes]:
        """The role, the text in pieces, why it ends, and the usage if it was asked for."""
        options = self.request.stream_options
        with_usage = options is not None and options.include_usage
        head = self._head("chat.completion.chunk") | ({"usage": None} if with_usage else {})

        def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            return _event(head | {"choices": [choice]})

        yield event({"role": "assistant", "content": "", "refusal": None})
        for piece in pieces(said.text, chunk_characters):
            yield event({"content": piece})
        yield event({}, "stop")
        if with_usage:
            yield _event(head | {"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.content.hex()}",
            "object": kind,
            "created": int(time.time()),
            "model": self.request.model,
        }


class ChatCompletions:
    """The endpoint /v1/chat/completions.

    Args:
        structured_output: Whether it takes a JSON schema for the answer.
    """

    def __init__(self, *, structured_output: bool = True) -> None:
        self._structured_output = structured_output

    def read(self, raw: bytes) -> ChatExchange | Refusal:
        """The request in a body, or why it cannot be served."""
        try:
            body: Any = json.loads(raw)
            request = ChatRequest.model_validate(body)
        except ValidationError as error:
            return invalid(error)
        except ValueError:
            return NOT_JSON
        if request.n not in (None, 1):
            return Refusal(400, "`n` above 1 is not served: send the request once per answer.", param="n")
        if request.stream_options is not None and not request.stream:
            return Refusal(400, "`stream_options` is only allowed when `stream` is enabled.", param="stream_options")
        turns = tuple((message.role, message.text()) for message in request.messages)
        if refusal := self._refused_format(request, turns):
            return refusal
        form = request.response_format
        call = Call(
            turns,
            salt(body, without="messages"),
            request.temperature or 0.0,
            wants_json=isinstance(form, ObjectFormat | SchemaFormat),
            schema=form.json_schema.json_schema if isinstance(form, SchemaFormat) else None,
        )
        return ChatExchange(request, call, digest(body))

    def refuse(self, refusal: Refusal) -> web.Response:
        """An error as OpenAI's API answers it."""
        return _openai.refuse(refusal)

    def _refused_format(self, request: ChatRequest, turns: tuple[Message, ...]) -> Refusal | None:
        form = request.response_format
        if isinstance(form, SchemaFormat):
            return refused_schema(form.json_schema, "response_format", served=self._structured_output)
        if isinstance(form, ObjectFormat) and not any("json" in text.lower() for _, text in turns):
            message = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            return Refusal(400, message, param="messages")
        return None


def refused_schema(form: JsonSchema, param: str, *, served: bool) -> Refusal | None:
    """Why an answer cannot be held to a schema."""
    if not served:
        message = f"Invalid parameter: '{param}' of type 'json_schema' is not supported with this model."
        return Refusal(400, message, param=param)
    complaint = strictness_complaint(form.json_schema, form.name) if form.strict else None
    return None if complaint is None else Refusal(400, complaint, param=param)


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + _written(document) + b"\n\n"


def _written(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
