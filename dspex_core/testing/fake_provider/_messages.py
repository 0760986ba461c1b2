"""Anthropic's messages."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from dspex_core.testing.fake_provider._call import Call, Said, ToolCall, tokens
from dspex_core.testing.fake_provider._exchange import (
    NOT_JSON,
    Answer,
    Headers,
    Mind,
    Refusal,
    Usage,
    bearer_key,
    digest,
    event,
    pieces,
    salt,
    written,
)
from dspex_core.testing.fake_provider._messages_request import MessagesRequest, invalid_message
from dspex_core.testing.fake_provider._prompt_cache import PromptCache

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_OVERLOADED = {503: 529}


@dataclass(frozen=True)
class MessagesExchange:
    """One request for a message."""

    request: MessagesRequest
    call: Call
    content: bytes
    cache: PromptCache

    @property
    def stream(self) -> bool:
        """Whether the answer is to come in pieces."""
        return self.request.stream

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self.request.model

    def answer(self, mind: Mind, chunk_characters: int) -> Answer:
        """A message, or the events of one."""
        said = mind(self.call)
        blocks = self.request.blocks()
        read, kept = self.cache.use(blocks)
        spent = Usage.of(self.call, said)
        whole = sum(tokens(block.text) for block in blocks)
        usage = replace(spent, prompt_tokens=whole, cached_tokens=read, cache_written_tokens=kept)
        if self.stream:
            return Answer(usage, events=self._events(said, usage, chunk_characters))
        return Answer(usage, written(self._message(self._blocks(said), usage, _stop_reason(said))))

    def malformed(self, *, broken_json: bool) -> bytes:
        """A body that is cut off, or one without content."""
        start = {"id": self._id(), "type": "message", "role": "assistant"}
        return written(start)[:-1] + b', "content": [{"type": "te' if broken_json else written(start)

    def stream_error(self, number: int) -> bytes:
        """The event `error`: most often the model is overloaded."""
        return event(error_body(Refusal(503, "Overloaded")), named=True)

    def _blocks(self, said: Said) -> list[dict[str, Any]]:
        texts = [{"type": "text", "text": said.text}] if said.text or not said.tool_calls else []
        return texts + [self._tool_use(number, call, call.arguments) for number, call in enumerate(said.tool_calls)]

    def _tool_use(self, number: int, call: ToolCall, arguments: dict[str, Any]) -> dict[str, Any]:
        call_id = f"toolu_{self.content.hex()[:20]}{number}"
        return {"type": "tool_use", "id": call_id, "name": call.name, "input": arguments}

    def _events(self, said: Said, usage: Usage, chunk_characters: int) -> Iterator[bytes]:
        """The empty message, each block begun, filled and ended, why the message ends, and its end."""
        start = self._message([], replace(usage, completion_tokens=0), None)
        yield event({"type": "message_start", "message": start}, named=True)
        yield event({"type": "ping"}, named=True)
        for index, block in enumerate(self._blocks(said)):
            if block["type"] == "text":
                empty: dict[str, Any] = {"text": ""}
                deltas = [("text_delta", "text", part) for part in _parts(block, chunk_characters)]
            else:
                empty = {"input": {}}
                deltas = [("input_json_delta", "partial_json", part) for part in ("", *_parts(block, chunk_characters))]
            yield event({"type": "content_block_start", "index": index, "content_block": block | empty}, named=True)
            for kind, key, part in deltas:
                delta = {"type": kind, key: part}
                yield event({"type": "content_block_delta", "index": index, "delta": delta}, named=True)
            yield event({"type": "content_block_stop", "index": index}, named=True)
        ending = {"stop_reason": _stop_reason(said), "stop_sequence": None}
        yield event({"type": "message_delta", "delta": ending, "usage": _usage(usage)}, named=True)
        yield event({"type": "message_stop"}, named=True)

    def _message(self, content: list[dict[str, Any]], usage: Usage, stop_reason: str | None) -> dict[str, Any]:
        return {
            "id": self._id(),
            "type": "message",
            "role": "assistant",
            "model": self.request.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": _usage(usage),
        }

    def _id(self) -> str:
        return f"msg_{self.content.hex()}"


class Messages:
    """The endpoint /v1/messages.

    Args:
        cache: What is kept of prompts.
        structured_output: Whether it takes a JSON schema for the answer.
    """

    name = "messages"

    def __init__(self, cache: PromptCache, *, structured_output: bool = True) -> None:
        self._cache = cache
        self._structured_output = structured_output

    def key(self, headers: Headers) -> str | None:
        """The key in x-api-key, or a bearer token."""
        return headers.get("x-api-key") or bearer_key(headers)

    def read(self, raw: bytes) -> MessagesExchange | Refusal:
        """The request in a body, or why it cannot be served."""
        try:
            body: Any = json.loads(raw)
            request = MessagesRequest.model_validate(body)
        except ValidationError as error:
            return invalid_message(error)
        except ValueError:
            return NOT_JSON
        if refusal := request.refused(structured_output=self._structured_output):
            return refusal
        schema = request.schema_()
        call = Call(
            request.model,
            request.turns(),
            salt(body, "messages", "system"),
            request.temperature or 0.0,
            wants_json=schema is not None,
            schema=schema,
            tools=request.offered(),
            demanded=request.demanded(),
            most_tokens=request.max_tokens,
        )
        return MessagesExchange(request, call, digest(["messages", body]), self._cache)

    def refuse(self, refusal: Refusal) -> web.Response:
        """An error as Anthropic's API answers it."""
        status = _OVERLOADED.get(refusal.status, refusal.status)
        return web.json_response(error_body(refusal), status=status)


def error_body(refusal: Refusal) -> dict[str, Any]:
    """An error as Anthropic's API words it."""
    status = _OVERLOADED.get(refusal.status, refusal.status)
    kind = _ERROR_TYPES.get(status, "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": refusal.message}}


def _parts(block: dict[str, Any], size: int) -> list[str]:
    return pieces(block["text"] if block["type"] == "text" else json.dumps(block["input"], ensure_ascii=False), size)


def _stop_reason(said: Said) -> str:
    if said.tool_calls:
        return "tool_use"
    return "max_tokens" if said.cut else "end_turn"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.cache_written_tokens,
        "cache_creation_input_tokens": usage.cache_written_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
