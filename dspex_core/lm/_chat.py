import json
from typing import Any, ClassVar

from dspex_core.lm._accounting import count_in, usage_of_call
from dspex_core.lm._capabilities import Capabilities
from dspex_core.lm._dialect import AnswerFailed
from dspex_core.lm._schema import is_strict
from dspex_core.seam import LMConfig, LMRequest, LMResponse, Message, TextPart, ToolUse
from dspex_core.usage import Usage


class ChatCompletions:
    """OpenAI's chat completions, which most servers speak.

    Args:
        config: The model.
    """

    path: ClassVar[str] = "/chat/completions"
    forms: ClassVar[tuple[str, ...]] = ("json_schema", "json_object", "text")

    def __init__(self, config: LMConfig) -> None:
        self._config = config
        self.tells_usage = False
        """Whether the server has told what a stream took."""

    def body(self, request: LMRequest, known: Capabilities, *, stream: bool) -> dict[str, Any]:
        """A request's body. A reasoning model has its own name for max_tokens, and no temperature.

        Source: OpenAI's guide to reasoning models.
        """
        config = self._config
        body: dict[str, Any] = {
            "model": config.name,
            "messages": [_message(message) for message in request.messages],
        }
        if not known.reasoning:
            body["temperature"] = config.temperature if request.temperature is None else request.temperature
        if config.max_tokens is not None:
            body["max_completion_tokens" if known.reasoning else "max_tokens"] = config.max_tokens
        if config.reasoning_effort is not None:
            body["reasoning_effort"] = config.reasoning_effort
        if request.tools:
            body["tools"] = [{"type": "function", "function": tool.model_dump()} for tool in request.tools]
        if request.response_format is not None and known.form == "json_object":
            body["response_format"] = {"type": "json_object"}
        if request.response_format is not None and known.form == "json_schema":
            name, schema = request.response_format.name, request.response_format.json_schema
            described = {"name": name, "schema": schema, "strict": is_strict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": described}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body | config.extra

    def response(self, answer: Any) -> LMResponse:
        """What an answer says. OpenRouter sends what failed while the model answered with status 200."""
        _raise_error_in(answer)
        message = answer["choices"][0]["message"]
        return LMResponse(
            text=message["content"] or "",
            usage=self.usage(answer.get("usage")),
            tool_calls=_tool_uses([call["function"] for call in message.get("tool_calls") or ()]),
        )

    def reader(self) -> "_ChunkReader":
        """What reads a new stream."""
        return _ChunkReader(self)

    def usage(self, counts: Any) -> Usage:
        """What a call took, from the "usage" of its answer."""
        return usage_of_call(
            self._config,
            prompt_tokens=count_in(counts, "prompt_tokens"),
            completion_tokens=count_in(counts, "completion_tokens"),
            cached_tokens=count_in(counts, "prompt_tokens_details", "cached_tokens"),
            reasoning_tokens=count_in(counts, "completion_tokens_details", "reasoning_tokens"),
        )


class _ChunkReader:
    """Reads the chunks of one streamed answer."""

    def __init__(self, api: ChatCompletions) -> None:
        self._api = api
        self._text: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._used: Any = None
        self._finished = False

    def read(self, event: Any) -> str:
        """The text that a chunk adds."""
        _raise_error_in(event)
        self._used = event.get("usage") or self._used
        text = ""
        for choice in (event.get("choices") or ())[:1]:
            delta: dict[str, Any] = choice.get("delta") or {}
            self._collect(delta.get("tool_calls") or ())
            self._finished = self._finished or choice.get("finish_reason") is not None
            text = delta.get("content") or ""
        self._text.append(text)
        return text

    def response(self) -> LMResponse | None:
        """The whole answer, or None if it did not end."""
        # What a stream took comes last; from a server that tells it, one without it is cut off as well.
        self._api.tells_usage = self._api.tells_usage or self._used is not None
        if not self._finished or (self._used is None and self._api.tells_usage):
            return None
        return LMResponse(
            text="".join(self._text),
            usage=self._api.usage(self._used),
            tool_calls=_tool_uses(list(self._calls.values())),
        )

    def _collect(self, deltas: Any) -> None:
        """Add the pieces of calls to what is known of them."""
        for delta in deltas:
            call = self._calls.setdefault(delta["index"], {"name": "", "arguments": ""})
            function: dict[str, Any] = delta.get("function") or {}
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""


def _raise_error_in(answer: Any) -> None:
    if error := answer.get("error"):
        raise AnswerFailed(str(error.get("message", error)), code=str(error.get("code") or error.get("type") or ""))


def _tool_uses(functions: list[Any]) -> tuple[ToolUse, ...]:
    return tuple(
        ToolUse(name=function["name"], args=json.loads(function.get("arguments") or "{}")) for function in functions
    )


def _message(message: Message) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    parts = [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": part.url}}
        for part in message.content
    ]
    return {"role": message.role, "content": parts}
