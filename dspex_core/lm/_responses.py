import json
from typing import Any, ClassVar

from dspex_core.lm._accounting import count_in, usage_of_call
from dspex_core.lm._capabilities import Capabilities
from dspex_core.lm._dialect import AnswerFailed
from dspex_core.lm._schema import is_strict
from dspex_core.seam import LMConfig, LMRequest, LMResponse, Message, TextPart, ToolUse
from dspex_core.usage import Usage

_ENDED = ("response.completed", "response.incomplete", "response.failed")


class Responses:
    """OpenAI's Responses. The provider is asked to keep none of them.

    Args:
        config: The model.
    """

    path: ClassVar[str] = "/responses"
    forms: ClassVar[tuple[str, ...]] = ("json_schema", "json_object", "text")

    def __init__(self, config: LMConfig) -> None:
        self._config = config

    def body(self, request: LMRequest, known: Capabilities, *, stream: bool) -> dict[str, Any]:
        """A request's body. A reasoning model takes no temperature. Source: OpenAI's guide to reasoning models."""
        config = self._config
        body: dict[str, Any] = {
            "model": config.name,
            "input": [_message(message) for message in request.messages],
            "store": False,
        }
        if not known.reasoning:
            body["temperature"] = config.temperature if request.temperature is None else request.temperature
        if config.max_tokens is not None:
            body["max_output_tokens"] = config.max_tokens
        if config.reasoning_effort is not None:
            body["reasoning"] = {"effort": config.reasoning_effort}
        if request.tools:
            body["tools"] = [{"type": "function", "strict": False, **tool.model_dump()} for tool in request.tools]
        if request.response_format is not None and known.form == "json_object":
            body["text"] = {"format": {"type": "json_object"}}
        if request.response_format is not None and known.form == "json_schema":
            name, schema = request.response_format.name, request.response_format.json_schema
            wanted = {"type": "json_schema", "name": name, "schema": schema, "strict": is_strict(schema)}
            body["text"] = {"format": wanted}
        if stream:
            body["stream"] = True
        return body | config.extra

    def response(self, answer: Any) -> LMResponse:
        """What an answer says."""
        if answer.get("status") == "failed":
            error: dict[str, Any] = answer.get("error") or {}
            raise AnswerFailed(str(error.get("message") or "the answer failed"), code=str(error.get("code") or ""))
        items: list[Any] = answer["output"]
        parts = [part for item in items if item["type"] == "message" for part in item["content"]]
        return LMResponse(
            text="".join(part["text"] for part in parts if part["type"] == "output_text"),
            usage=self._usage(answer.get("usage")),
            tool_calls=tuple(
                ToolUse(name=item["name"], args=json.loads(item["arguments"] or "{}"))
                for item in items
                if item["type"] == "function_call"
            ),
        )

    def reader(self) -> "_EventReader":
        """What reads a new stream."""
        return _EventReader(self)

    def _usage(self, counts: Any) -> Usage:
        return usage_of_call(
            self._config,
            prompt_tokens=count_in(counts, "input_tokens"),
            completion_tokens=count_in(counts, "output_tokens"),
            cached_tokens=count_in(counts, "input_tokens_details", "cached_tokens"),
            reasoning_tokens=count_in(counts, "output_tokens_details", "reasoning_tokens"),
        )


class _EventReader:
    """Reads the events of one streamed answer; the last one holds all of it."""

    def __init__(self, api: Responses) -> None:
        self._api = api
        self._response: LMResponse | None = None

    def read(self, event: Any) -> str:
        """The text that an event adds."""
        kind = event["type"]
        if kind == "response.output_text.delta":
            return str(event["delta"])
        if kind in _ENDED:
            self._response = self._api.response(event["response"])
        if kind == "error":
            raise AnswerFailed(str(event.get("message")), code=str(event.get("code") or ""))
        return ""

    def response(self) -> LMResponse | None:
        """The whole answer, or None if it did not end."""
        return self._response


def _message(message: Message) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    parts = [
        {"type": "input_text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "input_image", "image_url": part.url}
        for part in message.content
    ]
    return {"role": message.role, "content": parts}
