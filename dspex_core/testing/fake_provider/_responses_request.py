"""What a body of OpenAI's /v1/responses may hold, and what it refuses."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from dspex_core.testing.fake_provider._call import ToolSpec
from dspex_core.testing.fake_provider._chat_request import (
    FunctionSpec,
    JsonSchema,
    ObjectFormat,
    TextFormat,
    TextPart,
    refused_schema,
)
from dspex_core.testing.fake_provider._exchange import Refusal
from dspex_core.testing.fake_provider._prompt import Message
from dspex_core.testing.fake_provider._reasoning import Effort, refused_for_reasoning

_MOVED = {
    "messages": "input",
    "response_format": "text.format",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
}


class MessageItem(BaseModel):
    """A message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def turn(self) -> Message:
        """Role and text."""
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        return self.role, text


class FunctionCallItem(BaseModel):
    """A call of a tool in an earlier answer."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str

    def turn(self) -> Message:
        """The call as JSON."""
        return "assistant", json.dumps([{"name": self.name, "arguments": self.arguments}])


class FunctionOutputItem(BaseModel):
    """What a tool answered."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[TextPart]

    def turn(self) -> Message:
        """The answer's text."""
        return "tool", self.output if isinstance(self.output, str) else "\n".join(part.text for part in self.output)


class ReasoningItem(BaseModel):
    """What an earlier answer was thought out with; passed over."""

    type: Literal["reasoning"]

    def turn(self) -> None:
        """Nothing that is read."""


def _kind(item: Any) -> str:
    given = cast("dict[str, Any]", item).get("type") if isinstance(item, dict) else None
    return str(given or "message")


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


class FlatFunctionTool(FunctionSpec):
    """A tool that is a function."""

    type: Literal["function"]


class FlatSchemaFormat(JsonSchema):
    """A JSON object of a schema."""

    type: Literal["json_schema"]


class TextOptions(BaseModel):
    """What the answer's text must be like."""

    format: Annotated[TextFormat | ObjectFormat | FlatSchemaFormat, Field(discriminator="type")] | None = None


class ReasoningOptions(BaseModel):
    """How much to think."""

    effort: Effort | None = None
    summary: str | None = None


class FunctionChoice(BaseModel):
    """The one tool to call."""

    type: Literal["function"]
    name: str


class ResponsesRequest(BaseModel):
    """The part of a /v1/responses body that is read."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1)
    input: str | Annotated[list[Item], Field(min_length=1)]
    instructions: str | None = None
    stream: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_output_tokens: int | None = Field(default=None, ge=16)
    tools: list[FlatFunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    previous_response_id: str | None = None

    def refused(self, *, structured_output: bool) -> Refusal | None:
        """Why the request is well formed and yet not served."""
        for name in self.model_extra or {}:
            if name in _MOVED:
                text = f"Unsupported parameter: '{name}'. In the Responses API, it has moved to '{_MOVED[name]}'."
                return Refusal(400, text, code="unsupported_parameter", param=name)
        if self.previous_response_id is not None:
            text = f"Previous response with id '{self.previous_response_id}' not found: none is kept here."
            return Refusal(400, text, code="previous_response_not_found", param="previous_response_id")
        if self.tool_choice not in (None, "none", "auto") and not self.tools:
            return Refusal(400, "Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice")
        return (
            refused_for_reasoning(self.model, self.temperature, self.effort(), param="reasoning.effort")
            or self._refused_calls()
            or self._refused_format(structured_output=structured_output)
        )

    def _refused_calls(self) -> Refusal | None:
        items = [] if isinstance(self.input, str) else self.input
        called = {item.call_id for item in items if isinstance(item, FunctionCallItem)}
        answered = {item.call_id for item in items if isinstance(item, FunctionOutputItem)}
        if unknown := sorted(answered - called):
            return Refusal(
                400, f"No tool call found for function call output with call_id {unknown[0]}.", param="input"
            )
        if waiting := sorted(called - answered):
            return Refusal(400, f"No tool output found for function call {waiting[0]}.", param="input")
        return None

    def _refused_format(self, *, structured_output: bool) -> Refusal | None:
        form = self.text.format if self.text is not None else None
        if isinstance(form, FlatSchemaFormat):
            return refused_schema(form, "text.format", served=structured_output)
        if isinstance(form, ObjectFormat) and not any("json" in text.lower() for _, text in self.turns()):
            text = "must contain the word 'json' in some form to use 'text.format' of type 'json_object'."
            return Refusal(400, f"Response input messages {text}", param="input")
        return None

    def effort(self) -> Effort | None:
        """How much to think, if it was said."""
        return self.reasoning.effort if self.reasoning is not None else None

    def turns(self) -> tuple[Message, ...]:
        """Instructions and items as roles and texts."""
        return tuple(self._turns())

    def _turns(self) -> Iterator[Message]:
        if self.instructions:
            yield "system", self.instructions
        if isinstance(self.input, str):
            yield "user", self.input
            return
        for item in self.input:
            if turn := item.turn():
                yield turn

    def offered(self) -> tuple[ToolSpec, ...]:
        """The tools that may be called."""
        return () if self.tool_choice == "none" else tuple(tool.spec() for tool in self.tools or ())

    def demanded(self) -> str | None:
        """The tool that must be called, or "*" for any; None leaves it to the model."""
        if isinstance(self.tool_choice, FunctionChoice):
            return self.tool_choice.name
        return "*" if self.tool_choice == "required" else None
