from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from dspex_core.usage import Usage


class ToolResult(BaseModel):
    """What a tool gave back, as a model reads it.

    Attributes:
        text: The result as text, or what went wrong.
        failed: Whether the tool was called wrongly, raised, or took too long.
        structured: Whether the text is JSON, of a result that was more than text.
        usage: What the models took that the tool asked, where the call was made in another process.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    failed: bool = False
    structured: bool = False
    usage: Usage = Usage()


class CallableTool(Protocol):
    """A tool as a runtime sees it; `dspex_core.tools.Tool` is one."""

    @property
    def name(self) -> str:
        """What models call it."""
        ...

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of its arguments, in their order."""
        ...

    @property
    def needs_approval(self) -> bool:
        """Whether a person must approve each call that a model makes."""
        ...

    def to_spec(self) -> Any:
        """How another process finds it, as a `dspex_core.tools.ToolSpec`.

        Raises:
            ProgramError: If no other process can.
        """
        ...

    async def invoke(self, args: dict[str, Any], *, idempotency_key: str | None = None) -> ToolResult:
        """Call it in this process; whatever goes wrong in the tool is in the result."""
        ...


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One call of a tool.

    Attributes:
        tool: The tool.
        args: Arguments by name, as a model wrote them.
        idempotency_key: The same in every try of this call, and in no other; None lets the runtime make one.
        approved: Whether a person has approved it, where the tool needs that.
    """

    tool: CallableTool
    args: dict[str, Any]
    idempotency_key: str | None = None
    approved: bool = False


class Decision(BaseModel):
    """What a person decided about a call.

        async def approve(call):
            return Decision(approved=False, reason="ask finance first")

    Attributes:
        approved: Whether it may be made.
        reason: Why not, for the model; or why.
    """

    model_config = ConfigDict(frozen=True)

    approved: bool
    reason: str = ""


Approve = Callable[[ToolCall], bool | Decision | Awaitable[bool | Decision]]
"""Asks a person whether a call may be made."""


def rejected(name: str, reason: str) -> ToolResult:
    """What a model reads of a call that a person rejected."""
    why = f": {reason}" if reason else ""
    return ToolResult(text=f"{name} was not carried out, because a person rejected it{why}", failed=True)
