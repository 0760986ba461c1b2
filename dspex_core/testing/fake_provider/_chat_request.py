"""What a body of /v1/chat/completions may hold, and what OpenAI refuses."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dspex_core.testing.fake_provider._call import ToolSpec
from dspex_core.testing.fake_provider._exchange import Refusal
from dspex_core.testing.fake_provider._prompt import Message
from dspex_core.testing.fake_provider._reasoning import Effort, reasons, refused_for_reasoning
from dspex_core.testing.fake_provider._schema import strictness_complaint

_NAME = r"^[a-zA-Z0-9_-]{1,64}$"


class TextPart(BaseModel):
    """A piece of a message; pieces that are no text are passed over."""

    text: str = ""


class CalledFunction(BaseModel):
    """A function that the model called, and its arguments as JSON."""

    name: str
    arguments: str


class ToolCallPart(BaseModel):
    """A call of a tool in an earlier answer."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class ChatMessage(BaseModel):
    """One message of a request."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[ToolCallPart] | None = None
    tool_call_id: str | None = None

    def text(self) -> str:
        """The message's text, its parts joined, and the calls in it as JSON."""
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content or ())
        if not self.tool_calls:
            return text
        calls = [call.function.model_dump() for call in self.tool_calls]
        return "\n".join([*([text] if text else []), json.dumps(calls)])


class StreamOptions(BaseModel):
    """How a stream is to end."""

    include_usage: bool = False


class JsonSchema(BaseModel):
    """The schema that an answer must fit."""

    name: str = Field(pattern=_NAME)
    json_schema: dict[str, Any] = Field(default_factory=dict[str, Any], alias="schema")
    strict: bool | None = None


class TextFormat(BaseModel):
    """Text of any kind."""

    type: Literal["text"]


class ObjectFormat(BaseModel):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(BaseModel):
    """A JSON object of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class FunctionSpec(BaseModel):
    """A function that the model may call."""

    name: str = Field(pattern=_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def spec(self) -> ToolSpec:
        """The tool in no API's own words."""
        return ToolSpec(self.name, self.description or "", self.parameters or {})


class FunctionTool(BaseModel):
    """A tool that is a function."""

    type: Literal["function"]
    function: FunctionSpec


class NamedFunction(BaseModel):
    """The name of a function."""

    name: str


class NamedChoice(BaseModel):
    """The one tool to call."""

    type: Literal["function"]
    function: NamedFunction


class ChatRequest(BaseModel):
    """The part of a /v1/chat/completions body that is read."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1)
    messages: list[ChatMessage] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    reasoning_effort: Effort | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")] | None = None
    tools: list[FunctionTool] | None = Field(default=None, min_length=1, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None

    def refused(self, *, structured_output: bool) -> Refusal | None:
        """Why the request is well formed and yet not served."""
        if refusal := refused_for_reasoning(self.model, self.temperature, self.reasoning_effort):
            return refusal
        if self.max_tokens is not None and reasons(self.model):
            text = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return Refusal(400, f"Unsupported parameter: {text}", code="unsupported_parameter", param="max_tokens")
        if self.n not in (None, 1):
            return Refusal(400, "`n` above 1 is not served: send the request once per answer.", param="n")
        if self.stream_options is not None and not self.stream:
            return Refusal(400, "`stream_options` is only allowed when `stream` is enabled.", param="stream_options")
        if self.tool_choice is not None and not self.tools:
            return Refusal(400, "'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
        return _refused_calls(self.messages) or self._refused_format(structured_output=structured_output)

    def _refused_format(self, *, structured_output: bool) -> Refusal | None:
        form = self.response_format
        if isinstance(form, SchemaFormat):
            return refused_schema(form.json_schema, "response_format", served=structured_output)
        if isinstance(form, ObjectFormat) and not any("json" in each.text().lower() for each in self.messages):
            message = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            return Refusal(400, message, param="messages")
        return None

    def turns(self) -> tuple[Message, ...]:
        """The messages as roles and texts."""
        return tuple((message.role, message.text()) for message in self.messages)

    def offered(self) -> tuple[ToolSpec, ...]:
        """The tools that may be called."""
        return () if self.tool_choice == "none" else tuple(tool.function.spec() for tool in self.tools or ())

    def demanded(self) -> str | None:
        """The tool that must be called, or "*" for any; None leaves it to the model."""
        if isinstance(self.tool_choice, NamedChoice):
            return self.tool_choice.function.name
        return "*" if self.tool_choice == "required" else None


def refused_schema(form: JsonSchema, param: str, *, served: bool) -> Refusal | None:
    """Why an answer cannot be held to a schema."""
    if not served:
        message = f"Invalid parameter: '{param}' of type 'json_schema' is not supported with this model."
        return Refusal(400, message, param=param)
    complaint = strictness_complaint(form.json_schema, form.name) if form.strict else None
    return None if complaint is None else Refusal(400, complaint, param=param)


def _refused_calls(messages: Sequence[ChatMessage]) -> Refusal | None:
    """Every call must be answered by a tool's message right after it, and every such message answers a call."""
    if not any(message.tool_calls or message.role == "tool" for message in messages):
        return None
    waiting: dict[str, None] = {}
    for number, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id not in waiting:
                text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                return Refusal(400, f"Invalid parameter: {text}", param=f"messages.[{number}].role")
            del waiting[message.tool_call_id]
            continue
        if waiting:
            break
        waiting = dict.fromkeys(call.id for call in message.tool_calls or ())
    if not waiting:
        return None
    text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
    return Refusal(400, f"{text} Without one are: {', '.join(waiting)}", param="messages")
