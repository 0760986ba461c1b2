"""OpenAI's Responses API."""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._call import Call, Said
from dspex_core.testing.fake_provider._chat_request import ObjectFormat
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
from dspex_core.testing.fake_provider._responses_request import FlatSchemaFormat, ResponsesRequest

Document = dict[str, Any]


@dataclass(frozen=True)
class ResponsesExchange:
    """One request for a response."""

    request: ResponsesRequest
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
        """A response, or the events of one."""
        said = mind(self.call)
        cached = 0 if self.cache is None else self.cache.known(self.call.turns)
        usage = Usage.of(self.call, said, cached_tokens=cached)
        if self.stream:
            return Answer(usage, events=self._events(said, usage, chunk_characters))
        return Answer(usage, written(self._finished(said, usage)))

    def malformed(self, *, broken_json: bool) -> bytes:
        """A body that is cut off, or one without output."""
        start = {"id": self._id("resp"), "object": "response"}
        return written(start)[:-1] + b', "output": [{"type": "mess' if broken_json else written(start)

    def stream_error(self, number: int) -> bytes:
        """The event `error`."""
        told = {"code": "server_error", "message": STREAM_FAILED.message, "param": None}
        return event({"type": "error", "sequence_number": number} | told, named=True)

    def _events(self, said: Said, usage: Usage, chunk_characters: int) -> Iterator[bytes]:
        """The response begun, each item begun, filled and ended, and the response as it is in the end."""
        numbers = itertools.count()

        def numbered(kind: str, document: Document) -> bytes:
            return event({"type": f"response.{kind}", "sequence_number": next(numbers)} | document, named=True)

        begun = self._response([], "in_progress")
        yield numbered("created", {"response": begun})
        yield numbered("in_progress", {"response": begun})
        for index, item in enumerate(self._items(said)):
            yield numbered("output_item.added", {"output_index": index, "item": item | _unfilled(item)})
            for kind, document in _filling(item, chunk_characters):
                yield numbered(kind, {"output_index": index, "item_id": item["id"]} | document)
            yield numbered("output_item.done", {"output_index": index, "item": item})
        finished = self._finished(said, usage)
        yield numbered(finished["status"], {"response": finished})

    def _items(self, said: Said) -> list[Document]:
        """What the response puts out: thoughts, a message, calls."""
        items: list[Document] = []
        if self.call.effort:
            items.append({"id": self._id("rs"), "type": "reasoning", "summary": []})
        status = "incomplete" if said.cut else "completed"
        if said.text or not said.tool_calls:
            content: Document = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
            items.append(
                {"id": self._id("msg"), "type": "message", "status": status, "role": "assistant", "content": [content]}
            )
        items.extend(
            {
                "id": f"fc_{self.content.hex()[:20]}{number}",
                "type": "function_call",
                "status": "completed",
                "call_id": f"call_{self.content.hex()[:20]}{number}",
                "name": call.name,
                "arguments": call.json_arguments(),
            }
            for number, call in enumerate(said.tool_calls)
        )
        return items

    def _finished(self, said: Said, usage: Usage) -> Document:
        status = "incomplete" if said.cut else "completed"
        details = {"reason": "max_output_tokens"} if said.cut else None
        return self._response(self._items(said), status) | {"incomplete_details": details, "usage": _usage(usage)}

    def _response(self, output: list[Document], status: str) -> Document:
        request = self.request
        return {
            "id": self._id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "model": request.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": request.effort(), "summary": None},
            "store": False,
            "temperature": 1.0 if request.temperature is None else request.temperature,
            "text": _dumped(request.text) or {"format": {"type": "text"}},
            "tool_choice": _dumped(request.tool_choice) or "auto",
            "tools": [tool.model_dump() for tool in request.tools or ()],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
            "user": None,
            "metadata": {},
        }

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self.content.hex()}"


class Responses:
    """The endpoint /v1/responses.

    Args:
        structured_output: Whether it takes a JSON schema for the answer.
        cache: What is kept of prompts, if anything is.
    """

    name = "responses"
    key = staticmethod(bearer_key)

    def __init__(self, *, structured_output: bool = True, cache: PromptCache | None = None) -> None:
        self._structured_output = structured_output
        self._cache = cache

    def read(self, raw: bytes) -> ResponsesExchange | Refusal:
        """The request in a body, or why it cannot be served."""
        try:
            body: Any = json.loads(raw)
            request = ResponsesRequest.model_validate(body)
        except ValidationError as error:
            return invalid(error)
        except ValueError:
            return NOT_JSON
        if refusal := request.refused(structured_output=self._structured_output):
            return refusal
        form = request.text.format if request.text is not None else None
        call = Call(
            request.model,
            request.turns(),
            salt(body, "input", "instructions"),
            request.temperature or 0.0,
            wants_json=isinstance(form, ObjectFormat | FlatSchemaFormat),
            schema=form.json_schema if isinstance(form, FlatSchemaFormat) else None,
            tools=request.offered(),
            demanded=request.demanded(),
            most_tokens=request.max_output_tokens,
            effort=effort_of(request.model, request.effort()),
        )
        return ResponsesExchange(request, call, digest(["responses", body]), self._cache)

    def refuse(self, refusal: Refusal) -> web.Response:
        """An error as OpenAI's API answers it."""
        return _openai.refuse(refusal)


def _unfilled(item: Document) -> Document:
    """What an item lacks when it begins."""
    if item["type"] == "message":
        return {"status": "in_progress", "content": []}
    return {"status": "in_progress", "arguments": ""} if item["type"] == "function_call" else {}


def _filling(item: Document, chunk_characters: int) -> Iterator[tuple[str, Document]]:
    """The events between an item's beginning and its end."""
    if item["type"] == "message":
        (part,) = item["content"]
        yield "content_part.added", {"content_index": 0, "part": part | {"text": ""}}
        for piece in pieces(part["text"], chunk_characters):
            yield "output_text.delta", {"content_index": 0, "delta": piece, "logprobs": []}
        yield "output_text.done", {"content_index": 0, "text": part["text"], "logprobs": []}
        yield "content_part.done", {"content_index": 0, "part": part}
    elif item["type"] == "function_call":
        for piece in pieces(item["arguments"], chunk_characters):
            yield "function_call_arguments.delta", {"delta": piece}
        yield "function_call_arguments.done", {"name": item["name"], "arguments": item["arguments"]}


def _dumped(value: Any) -> Any:
    return value.model_dump(by_alias=True, exclude_none=True) if hasattr(value, "model_dump") else value


def _usage(usage: Usage) -> Document:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_written_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
