"""What a body of Anthropic's /v1/messages may hold, and what it refuses."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dspex_core.testing.fake_provider._call import ToolSpec
from dspex_core.testing.fake_provider._exchange import Refusal
from dspex_core.testing.fake_provider._prompt import Message
from dspex_core.testing.fake_provider._prompt_cache import Block

_MOST_MARKS = 4


class CacheControl(BaseModel):
    """The mark of a prompt's beginning that is to be kept."""

    type: Literal["ephemeral"]


class Marked(BaseModel):
    """Anything that may bear the mark."""

    cache_control: CacheControl | None = None

    def cost(self) -> str:
        """What the model reads of it."""
        return self.model_dump_json(exclude={"cache_control"})


class TextBlock(Marked):
    """A text."""

    type: Literal["text"]
    text: str = Field(min_length=1)

    def cost(self) -> str:
        """The text."""
        return self.text


class ToolUseBlock(Marked):
    """A call of a tool in an earlier answer."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class OtherBlock(Marked):
    """What the model passes over."""

    type: Literal["image", "document", "thinking", "redacted_thinking"]


class ToolResultBlock(Marked):
    """What a tool answered."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock | OtherBlock] = ""

    def text(self) -> str:
        """The answer's text."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(block.text for block in self.content if isinstance(block, TextBlock))


ContentBlock = Annotated[TextBlock | ToolUseBlock | ToolResultBlock | OtherBlock, Field(discriminator="type")]


class AnthropicMessage(BaseModel):
    """One message of a request."""

    role: Literal["user", "assistant"]
    content: str | list[ContentBlock]

    def blocks(self) -> list[ContentBlock]:
        """The content as blocks."""
        if isinstance(self.content, str):
            return [TextBlock.model_construct(type="text", text=self.content)]
        return self.content

    def turns(self) -> Iterator[Message]:
        """The content as roles and texts: what tools answered comes first, each for itself."""
        blocks = self.blocks()
        yield from (("tool", block.text()) for block in blocks if isinstance(block, ToolResultBlock))
        texts = [block.text for block in blocks if isinstance(block, TextBlock)]
        calls = [[block.name, block.input] for block in blocks if isinstance(block, ToolUseBlock)]
        if texts or calls:
            yield self.role, "\n".join([*texts, *([json.dumps(calls)] if calls else [])])


class AnthropicTool(Marked):
    """A function that the model may call."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")
    description: str = ""
    input_schema: dict[str, Any]

    def spec(self) -> ToolSpec:
        """The tool in no API's own words."""
        return ToolSpec(self.name, self.description, self.input_schema)


class ToolChoice(BaseModel):
    """Which tool to call."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None


class OutputFormat(BaseModel):
    """A JSON object of a schema."""

    type: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema")


class OutputConfig(BaseModel):
    """What the answer must be like."""

    format: OutputFormat | None = None


class MessagesRequest(BaseModel):
    """The part of a /v1/messages body that is read."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1)
    max_tokens: int = Field(ge=1)
    messages: list[AnthropicMessage] = Field(min_length=1)
    system: str | list[TextBlock] = ""
    temperature: float | None = Field(default=None, ge=0, le=1)
    stream: bool = False
    tools: list[AnthropicTool] = []
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None

    def refused(self, *, structured_output: bool) -> Refusal | None:
        """Why the request is well formed and yet not served."""
        if self.messages[0].role != "user":
            return Refusal(400, 'messages: first message must use the "user" role')
        if self.tool_choice is not None and not self.tools:
            return Refusal(400, "tool_choice: may only be specified while providing tools")
        if self.schema_() is not None and not structured_output:
            return Refusal(400, "output_config.format: structured output is not supported by this model")
        marks = sum(block.marked for block in self.blocks())
        if marks > _MOST_MARKS:
            message = f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {marks}."
            return Refusal(400, message)
        return self._refused_results()

    def _refused_results(self) -> Refusal | None:
        """Every call must be answered in the next message, and every answer belongs to a call."""
        waiting: set[str] = set()
        for number, message in enumerate(self.messages):
            answered = {block.tool_use_id for block in message.blocks() if isinstance(block, ToolResultBlock)}
            if unexpected := sorted(answered - waiting):
                return Refusal(
                    400,
                    f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks: {unexpected[0]}. Each "
                    "must have a corresponding `tool_use` block in the previous message.",
                )
            if missing := sorted(waiting - answered):
                return Refusal(
                    400,
                    f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                    f"{', '.join(missing)}.",
                )
            waiting = {block.id for block in message.blocks() if isinstance(block, ToolUseBlock)}
        return None

    def turns(self) -> tuple[Message, ...]:
        """System text and messages as roles and texts."""
        system = self.system if isinstance(self.system, str) else "\n\n".join(block.text for block in self.system)
        turns = [turn for message in self.messages for turn in message.turns()]
        return (("system", system), *turns) if system else tuple(turns)

    def blocks(self) -> list[Block]:
        """All that the model reads, in order: tools, system text, messages."""
        system = [] if isinstance(self.system, str) else self.system
        parts: list[Marked] = [*self.tools, *system, *(block for each in self.messages for block in each.blocks())]
        blocks = [Block(part.cost(), marked=part.cache_control is not None) for part in parts]
        if isinstance(self.system, str):
            blocks.insert(len(self.tools), Block(self.system))
        return blocks

    def offered(self) -> tuple[ToolSpec, ...]:
        """The tools that may be called."""
        refused = self.tool_choice is not None and self.tool_choice.type == "none"
        return () if refused else tuple(tool.spec() for tool in self.tools)

    def demanded(self) -> str | None:
        """The tool that must be called, or "*" for any; None leaves it to the model."""
        if self.tool_choice is None or self.tool_choice.type in ("auto", "none"):
            return None
        return self.tool_choice.name or "*"

    def schema_(self) -> dict[str, Any] | None:
        """The schema that the answer must fit."""
        output = self.output_config.format if self.output_config is not None else None
        return None if output is None else output.json_schema


def invalid_message(error: ValidationError) -> Refusal:
    """Status 400 as Anthropic words it: where, and what is wrong there."""
    first = error.errors()[0]
    return Refusal(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
