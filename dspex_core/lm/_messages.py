import json
import re
from typing import Any, ClassVar

from dspex_core.lm._accounting import count_in, usage_of_call
from dspex_core.lm._capabilities import Capabilities
from dspex_core.lm._dialect import AnswerFailed
from dspex_core.lm._schema import is_strict
from dspex_core.seam import ImagePart, LMConfig, LMRequest, LMResponse, Message, TextPart, ToolUse
from dspex_core.usage import Usage

MAX_TOKENS = 4_096
MAX_TOKENS_WITH_REASONING = 16_384
"""Anthropic's API wants a limit; every model's own is at least the one for it."""

_MARK = {"cache_control": {"type": "ephemeral"}}
_DATA_URL = re.compile(r"data:(?P<media_type>[\w/+.-]+);base64,(?P<data>.*)", re.DOTALL)


class Messages:
    """Anthropic's messages.

    The instruction and the last demo are marked for the provider's cache: what comes up to there is the same for every
    row. Source: Anthropic's guide to prompt caching.

    Args:
        config: The model.
    """

    path: ClassVar[str] = "/v1/messages"
    forms: ClassVar[tuple[str, ...]] = ("json_schema", "text")

    def __init__(self, config: LMConfig) -> None:
        self._config = config

    def body(self, request: LMRequest, known: Capabilities, *, stream: bool) -> dict[str, Any]:
        """A request's body."""
        config = self._config
        limit = MAX_TOKENS_WITH_REASONING if known.reasoning or config.reasoning_effort else MAX_TOKENS
        body: dict[str, Any] = {
            "model": config.name,
            "max_tokens": config.max_tokens or limit,
            "messages": self._messages(request),
        }
        system = [block for message in request.messages if message.role == "system" for block in _blocks(message)]
        if system:
            body["system"] = _marked(system) if config.prompt_caching else system
        # A model that is told to think takes no temperature, whichever it is.
        if not known.reasoning and not config.reasoning_effort:
            body["temperature"] = config.temperature if request.temperature is None else request.temperature
        if config.reasoning_effort:
            body["thinking"] = {"type": "adaptive"}
        if output := self._output(request, known):
            body["output_config"] = output
        if request.tools:
            body["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
                for tool in request.tools
            ]
        if stream:
            body["stream"] = True
        return body | config.extra

    def response(self, answer: Any) -> LMResponse:
        """What an answer says."""
        blocks: list[Any] = answer["content"]
        return LMResponse(
            text="".join(block["text"] for block in blocks if block["type"] == "text"),
            usage=self.usage(answer["usage"]),
            tool_calls=tuple(
                ToolUse(name=block["name"], args=block["input"]) for block in blocks if block["type"] == "tool_use"
            ),
        )

    def reader(self) -> "_EventReader":
        """What reads a new stream."""
        return _EventReader(self)

    def usage(self, counts: Any) -> Usage:
        """What a call took, from the "usage" of its answer, which counts what it cached apart from what it sent."""
        read, written = count_in(counts, "cache_read_input_tokens"), count_in(counts, "cache_creation_input_tokens")
        return usage_of_call(
            self._config,
            prompt_tokens=count_in(counts, "input_tokens") + read + written,
            completion_tokens=count_in(counts, "output_tokens"),
            cached_tokens=read,
            written_tokens=written,
            reasoning_tokens=count_in(counts, "output_tokens_details", "thinking_tokens"),
        )

    def _messages(self, request: LMRequest) -> list[dict[str, Any]]:
        turns = [message for message in request.messages if message.role != "system"]
        messages: list[dict[str, Any]] = [{"role": turn.role, "content": _blocks(turn)} for turn in turns]
        if self._config.prompt_caching:
            for message in reversed(messages[:-1]):
                if message["role"] == "assistant":
                    message["content"] = _marked(message["content"])
                    break
        return messages

    def _output(self, request: LMRequest, known: Capabilities) -> dict[str, Any]:
        output: dict[str, Any] = {}
        if self._config.reasoning_effort:
            output["effort"] = self._config.reasoning_effort
        wanted = request.response_format
        # There is but the strict form, so a schema that it cannot hold to is left to the prompt.
        if wanted is not None and known.form == "json_schema" and is_strict(wanted.json_schema):
            output["format"] = {"type": "json_schema", "schema": wanted.json_schema}
        return output


class _EventReader:
    """Reads the events of one streamed answer."""

    def __init__(self, api: Messages) -> None:
        self._api = api
        self._text: list[str] = []
        self._tools: dict[int, dict[str, Any]] = {}
        self._counts: dict[str, Any] = {}
        self._finished = False

    def read(self, event: Any) -> str:
        """The text that an event adds."""
        kind = event["type"]
        if kind == "message_start":
            self._counts |= event["message"]["usage"]
        elif kind == "content_block_start" and event["content_block"]["type"] == "tool_use":
            self._tools[event["index"]] = {"name": event["content_block"]["name"], "json": ""}
        elif kind == "content_block_delta":
            return self._delta(event["index"], event["delta"])
        elif kind == "message_delta":
            # Counts in it are those of the whole answer so far.
            counts: dict[str, Any] = event.get("usage") or {}
            self._counts |= {name: count for name, count in counts.items() if count is not None}
        elif kind == "message_stop":
            self._finished = True
        elif kind == "error":
            raise AnswerFailed(event["error"]["message"], code=event["error"]["type"])
        return ""

    def response(self) -> LMResponse | None:
        """The whole answer, or None if it did not end."""
        if not self._finished:
            return None
        called = (ToolUse(name=tool["name"], args=json.loads(tool["json"] or "{}")) for tool in self._tools.values())
        return LMResponse(text="".join(self._text), usage=self._api.usage(self._counts), tool_calls=tuple(called))

    def _delta(self, index: int, delta: Any) -> str:
        if delta["type"] == "text_delta":
            self._text.append(delta["text"])
            return str(delta["text"])
        if delta["type"] == "input_json_delta":
            self._tools[index]["json"] += delta["partial_json"]
        return ""


def _blocks(message: Message) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}]
    return [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else _image(part) for part in message.content
    ]


def _image(part: ImagePart) -> dict[str, Any]:
    held = _DATA_URL.fullmatch(part.url)
    source = {"type": "base64", **held.groupdict()} if held else {"type": "url", "url": part.url}
    return {"type": "image", "source": source}


def _marked(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*blocks[:-1], blocks[-1] | _MARK]
