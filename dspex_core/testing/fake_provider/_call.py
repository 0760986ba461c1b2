"""What the model is asked and what it says, in no API's own words."""

import json
from dataclasses import dataclass, replace
from typing import Any

from dspex_core.testing.fake_provider._prompt import Message

_CHARACTERS_PER_TOKEN = 4


def tokens(text: str) -> int:
    """Four characters are a token."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


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
        model: The model that is asked.
        turns: The messages, as roles and texts.
        salt: The request without its messages, as text: it decides between equal candidates.
        temperature: How far apart two candidates may be and still count as equal.
        wants_json: Whether nothing but a JSON object will do.
        schema: What that object has to fit.
        tools: What the model may call.
        demanded: The tool that it must call, or "*" for any.
        most_tokens: Where the answer is cut off.
        effort: Tokens of hidden reasoning for each token of the answer.
    """

    model: str
    turns: tuple[Message, ...]
    salt: str
    temperature: float = 0.0
    wants_json: bool = False
    schema: dict[str, Any] | None = None
    tools: tuple[ToolSpec, ...] = ()
    demanded: str | None = None
    most_tokens: int | None = None
    effort: int = 0

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
    """What the model answers: a text, calls of tools, or both.

    Attributes:
        text: The text.
        tool_calls: The calls.
        effort: Tokens of hidden reasoning for each token of the answer.
        cut: Whether the text was cut off at the most tokens asked for.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    effort: int = 0
    cut: bool = False

    def visible_tokens(self) -> int:
        """What the answer costs without the reasoning before it."""
        return tokens(self.text) + sum(tokens(call.name + call.json_arguments()) for call in self.tool_calls)

    def reasoning_tokens(self) -> int:
        """What the reasoning costs."""
        return self.effort * self.visible_tokens()

    def within(self, most_tokens: int | None) -> "Said":
        """The same, its text cut off at so many tokens."""
        if most_tokens is None or tokens(self.text) <= most_tokens:
            return self
        return replace(self, text=self.text[: most_tokens * _CHARACTERS_PER_TOKEN], cut=True)
