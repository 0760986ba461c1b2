"""What DSPy asks of a model, and what it is told, as our requests and responses say it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pydantic

from dspex_core.errors import ConfigurationError, ProgramError
from dspex_core.seam import (
    ImagePart,
    LMConfig,
    LMRequest,
    LMResponse,
    Message,
    ResponseFormat,
    TextPart,
    ToolDefinition,
    current_rollout,
    current_rollout_temperature,
    rolled_out,
)

_OURS = ("num_retries", "max_retries", "retry_strategy", "timeout", "stream")
"""Options that say how a call is made, which our own models decide."""
_ROLES: dict[str, Any] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def requests_of(
    messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any], *, lm: LMConfig | None, in_force: LMConfig | None
) -> list[LMRequest]:
    """One request for each answer that is wanted.

    Args:
        messages: The chat, as OpenAI's API has it.
        options: What DSPy says of the call besides, such as "temperature", "n" and "rollout_id".
        lm: The model to ask; None for the one in force.
        in_force: The model in force, as far as it is known.

    Raises:
        ProgramError: If something in it has no equivalent here.
    """
    given = {name: value for name, value in options.items() if value is not None and name not in _OURS}
    count: int = given.pop("n", None) or given.pop("num_generations", None) or 1
    temperature: float | None = given.pop("temperature", None)
    if temperature is None and current_rollout():
        temperature = current_rollout_temperature()
    samples = _samples(given.pop("rollout_id", None), count)
    tools = tuple(_tool(tool) for tool in given.pop("tools", ()))
    answer_format = _response_format(given)
    chat = tuple(message_of(message) for message in messages)
    asked = _with_options(lm, in_force, given)
    return [
        LMRequest(
            messages=chat,
            lm=asked,
            rollout_id=sample or None,
            temperature=temperature,
            tools=tools,
            response_format=answer_format,
        )
        for sample in samples
    ]


def output_of(response: LMResponse) -> str | dict[str, Any]:
    """An answer as DSPy's adapters take it: its text, and beside it the tools that the model wants called."""
    if not response.tool_calls:
        return response.text
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.args, ensure_ascii=False)},
        }
        for number, call in enumerate(response.tool_calls)
    ]
    return {"text": response.text, "tool_calls": calls}


def _samples(within: int | None, count: int) -> list[int]:
    """Which samples the answers are; those that the program draws itself are parts of the run's own sample."""
    if within is not None:
        with rolled_out(int(within)):
            return _samples(None, count)
    if count == 1:
        return [current_rollout()]
    found: list[int] = []
    for part in range(count):
        with rolled_out(part):
            found.append(current_rollout())
    return found


def _with_options(lm: LMConfig | None, in_force: LMConfig | None, given: dict[str, Any]) -> LMConfig | None:
    if not given:
        return lm
    base = lm or in_force
    if base is None:
        raise ProgramError(
            f"the option {next(iter(given))!r} of a call needs a model that is known: give the LM itself"
        )
    changes: dict[str, Any] = {}
    if "cache" in given:
        changes["cache"] = bool(given.pop("cache"))
    for name in ("max_tokens", "max_completion_tokens"):
        if name in given:
            changes["max_tokens"] = given.pop(name)
    if "reasoning_effort" in given:
        changes["reasoning_effort"] = given.pop("reasoning_effort")
    if given:
        changes["extra"] = {**base.extra, **given}
    try:
        return LMConfig.model_validate({**base.model_dump(), **changes})
    except (pydantic.ValidationError, ConfigurationError):
        names = ", ".join(sorted({*changes, *given} - {"extra"}))
        raise ProgramError(f"a call of this DSPy program has options that no model here takes: {names}") from None


def _response_format(given: dict[str, Any]) -> ResponseFormat | None:
    """The format asked for; one that is no schema stays among the fields of the request."""
    wanted = given.get("response_format")
    if isinstance(wanted, type) and issubclass(wanted, pydantic.BaseModel):
        del given["response_format"]
        return ResponseFormat(name=wanted.__name__, json_schema=wanted.model_json_schema())
    return None


def _tool(tool: Any) -> ToolDefinition:
    function = tool.get("function") if isinstance(tool, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    try:
        return ToolDefinition.model_validate(function)
    except pydantic.ValidationError:
        raise ProgramError(f"a DSPy program gives a model a tool that is none: {tool!r:.200}") from None


def message_of(message: Mapping[str, Any]) -> Message:
    """A message as OpenAI's API has it, as ours.

    Raises:
        ProgramError: If it holds something else than text and images, or is of a role that is not known here.
    """
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise ProgramError(f"a DSPy program sends a message of the role {role!r}, which no model here is sent")
    if isinstance(content, str):
        return Message(role=_ROLES[role], content=content)
    parts = cast("list[Any]", content) if isinstance(content, list) else [content]
    return Message(role=_ROLES[role], content=tuple(_part(part) for part in parts))


def _part(part: Any) -> TextPart | ImagePart:
    match part:
        case {"type": "text", "text": str(text)}:
            return TextPart(text=text)
        case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
            return ImagePart(url=url)
        case _:
            kind = cast("dict[str, Any]", part).get("type") if isinstance(part, dict) else type(part).__name__
            raise ProgramError(
                f"a DSPy program sends a model a part of the kind {kind!r}: text and images are sent here"
            )
