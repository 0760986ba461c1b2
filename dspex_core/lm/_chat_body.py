"""Requests as /chat/completions takes them, and the parts of its answers."""

import json
from typing import Any, cast

from dspex_core.lm._prices import cost_usd
from dspex_core.seam import LMConfig, LMRequest, Message, TextPart, ToolUse
from dspex_core.usage import Usage

FORMATS = ("json_schema", "json_object", "text")
"""Forms of structured output, the strongest first."""


def chat_body(config: LMConfig, request: LMRequest, *, form: str) -> dict[str, Any]:
    """The body of a call.

    Args:
        config: The model.
        request: The call.
        form: The form of structured output to ask for, if the request wants any.
    """
    body: dict[str, Any] = {
        "model": config.name,
        "messages": [_message(message) for message in request.messages],
        "temperature": config.temperature if request.temperature is None else request.temperature,
    }
    if config.max_tokens is not None:
        body["max_tokens"] = config.max_tokens
    if request.tools:
        body["tools"] = [{"type": "function", "function": tool.model_dump()} for tool in request.tools]
    if request.response_format is not None and form == "json_object":
        body["response_format"] = {"type": "json_object"}
    if request.response_format is not None and form == "json_schema":
        name, schema = request.response_format.name, request.response_format.json_schema
        described = {"name": name, "schema": schema, "strict": _is_strict(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": described}
    return body


def chat_usage(config: LMConfig, used: Any) -> Usage:
    """What a call took, from the "usage" of its answer."""
    counts = cast("dict[str, Any]", used or {})
    prompt_tokens, completion_tokens = counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0)
    return Usage(
        lm_calls=1,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=cost_usd(config.model, prompt_tokens, completion_tokens),
    )


def tool_uses(functions: list[Any]) -> tuple[ToolUse, ...]:
    """The tools that an answer asks for.

    Raises:
        ValueError: If the arguments of one are no JSON object.
        KeyError: If it has no name.
    """
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


def _is_strict(schema: Any) -> bool:
    """Whether the provider can hold to a schema strictly: every object in it is closed, and nothing is optional.

    Source: OpenAI's guide to structured outputs, "Supported schemas".
    """
    if isinstance(schema, list):
        return all(map(_is_strict, cast("list[Any]", schema)))
    if not isinstance(schema, dict):
        return True
    entries = cast("dict[str, Any]", schema)
    if not entries:
        return False
    if entries.get("type") == "object":
        known = entries.get("properties")
        if entries.get("additionalProperties") is not False or not known:
            return False
        if set(known) != set(entries.get("required", ())):
            return False
    named = [*entries.get("properties", {}).values(), *entries.get("$defs", {}).values()]
    nested = [entries[key] for key in ("items", "anyOf", "prefixItems") if key in entries]
    return "default" not in entries and all(map(_is_strict, [*named, *nested]))
