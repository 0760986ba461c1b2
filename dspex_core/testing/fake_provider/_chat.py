"""OpenAI's chat completions."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._call import Call, Said, ToolCall
from dspex_core.testing.fake_provider._chat_request import ChatRequest, ObjectFormat, SchemaFormat
from dspex_core.testing.fake_provider._exchange import (
    NOT_JSON,
    STREAM_FAILED,
    Answer,
    Mind,
    Refusal,
    Usage,
    bearer_key,
    digest,
    event,
    invalid,
    pieces,
    salt,
    written,
)
from dspex_core.testing.fake_provider._prompt_cache import PromptCache
from dspex_core.testing.fake_provider._reasoning import effort_of


@dataclass(frozen=True)
class ChatExchange:
    """One request for a chat completion."""

    request: ChatRequest
    call: Call
    content: bytes
    cache: PromptCache | None

    @property
    def stream(self) -> bool:
        """Whether the answer is to come in pieces."""
        return bool(self.request.stream)

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self.request.model

    def answer(self, mind: Mind, chunk_characters: int) -> Answer:
        """A `chat.completion`, or the `chat.completion.chunk`s of one."""
        said = mind(self.call)
        cached = 0 if self.cache is None else self.cache.known(self.call.turns)
        usage = Usage.of(self.call, said, cached_tokens=cached)
        if self.stream:
            return Answer(usage, events=self._events(said, usage, chunk_characters))
        return Answer(usage, self._whole(said, usage))

    def malformed(self, *, broken_json: bool) -> bytes:
        """A body that is cut off, or one without choices."""
        start = {"id": f"chatcmpl-{self.content.hex()}", "object": "chat.completion"}
        if broken_json:
            return json.dumps(start)[:-1].encode() + b', "choices": [{"index": 0, "mess'
        return json.dumps(start).encode()

    def stream_error(self, number: int) -> bytes:
        """An error in place of a chunk."""
        return event(_openai.error_body(STREAM_FAILED))

    def _whole(self, said: Said, usage: Usage) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
        if said.tool_calls:
            calls = [self._call(number, call, call.json_arguments()) for number, call in enumerate(said.tool_calls)]
            message |= {"content": said.text or None, "tool_calls": calls}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(said)}
        return written(self._head("chat.completion") | {"choices": [choice], "usage": _usage(usage)})

    def _events(self, said: Said, usage: Usage, chunk_characters: int) -> Iterator[bytes]:
        """The role, the text and the calls in pieces, why it ends, and the usage if it was asked for."""
        options = self.request.stream_options
        with_usage = options is not None and options.include_usage
        head = self._head("chat.completion.chunk") | ({"usage": None} if with_usage else {})

        def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            return event(head | {"choices": [choice]})

        start = None if said.tool_calls and not said.text else ""
        yield chunk({"role": "assistant", "content": start, "refusal": None})
        for piece in pieces(said.text, chunk_characters):
            yield chunk({"content": piece})
        for number, call in enumerate(said.tool_calls):
            yield chunk({"tool_calls": [{"index": number} | self._call(number, call, "")]})
            for piece in pieces(call.json_arguments(), chunk_characters):
                yield chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
        yield chunk({}, _finish_reason(said))
        if with_usage:
            yield event(head | {"choices": [], "usage": _usage(usage)})
        yield b"data: [DONE]\n\n"

    def _call(self, number: int, call: ToolCall, arguments: str) -> dict[str, Any]:
        call_id = f"call_{self.content.hex()[:20]}{number}"
        return {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}

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
        cache: What is kept of prompts, if anything is.
    """

    name = "chat"
    key = staticmethod(bearer_key)

    def __init__(self, *, structured_output: bool = True, cache: PromptCache | None = None) -> None:
        self._structured_output = structured_output
        self._cache = cache

    def read(self, raw: bytes) -> ChatExchange | Refusal:
        """The request in a body, or why it cannot be served."""
        try:
            body: Any = json.loads(raw)
            request = ChatRequest.model_validate(body)
        except ValidationError as error:
            return invalid(error)
        except ValueError:
            return NOT_JSON
        if refusal := request.refused(structured_output=self._structured_output):
            return refusal
        form = request.response_format
        call = Call(
            request.model,
            request.turns(),
            salt(body, "messages"),
            request.temperature or 0.0,
            wants_json=isinstance(form, ObjectFormat | SchemaFormat),
            schema=form.json_schema.json_schema if isinstance(form, SchemaFormat) else None,
            tools=request.offered(),
            demanded=request.demanded(),
            most_tokens=request.max_completion_tokens or request.max_tokens,
            effort=effort_of(request.model, request.reasoning_effort),
        )
        return ChatExchange(request, call, digest(body), self._cache)

    def refuse(self, refusal: Refusal) -> web.Response:
        """An error as OpenAI's API answers it."""
        return _openai.refuse(refusal)


def _finish_reason(said: Said) -> str:
    if said.tool_calls:
        return "tool_calls"
    return "length" if said.cut else "stop"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
