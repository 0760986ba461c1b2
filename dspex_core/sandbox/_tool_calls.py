import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from dspex_core.sandbox._execution import Asked
from dspex_core.sandbox._values import TooMuchError, plain
from dspex_core.seam import CallableTool, CodeCell, ToolCall, ToolResult

if TYPE_CHECKING:
    from pydantic_monty import ExternalSettledResult


class ToolCalls:
    """Answers the calls that a cell makes of its tools.

    Args:
        cell: The cell.
        call_tool: Calls a tool on this side.
        longest_arguments: Most characters of the arguments of a call.
    """

    def __init__(
        self, cell: CodeCell, call_tool: Callable[[ToolCall], Awaitable[ToolResult]], *, longest_arguments: int
    ) -> None:
        self._tools = {tool.name: tool for tool in cell.tools}
        self._key = cell.idempotency_key or uuid.uuid4().hex
        self._call_tool = call_tool
        self._longest = longest_arguments
        self._made = 0

    @property
    def names(self) -> Sequence[str]:
        """The names that the code may call."""
        return tuple(self._tools)

    async def answer(self, asked: Asked) -> "ExternalSettledResult":
        """Call the tool; what goes wrong in it or with its arguments is raised in the code, as a RuntimeError."""
        tool = self._tools[asked.name]
        self._made += 1
        try:
            args = plain(_by_name(tool, asked), self._longest)
        except (TooMuchError, TypeError) as error:
            return _raised(f"the arguments do not fit {tool.name}: {error}")
        result = await self._call_tool(ToolCall(tool=tool, args=args, idempotency_key=self._key_of(args)))
        return _raised(result.text) if result.failed else {"return_value": _value_of(result)}

    def _key_of(self, args: dict[str, Any]) -> str:
        # The clock may lead a second try of the code elsewhere: another call must not pass for this one.
        written = hashlib.sha256(json.dumps(args, sort_keys=True).encode()).hexdigest()
        return f"{self._key}/{self._made}-{written[:16]}"


def _by_name(tool: CallableTool, asked: Asked) -> dict[str, Any]:
    names = list(tool.parameters.get("properties", {}))
    if len(asked.args) > len(names):
        raise TypeError(f"it takes {len(names)} of them, not {len(asked.args)}")
    given = dict(zip(names, asked.args, strict=False))
    if twice := [name for name in asked.kwargs if name in given]:
        raise TypeError(f"{twice[0]!r} is given twice")
    return {**given, **asked.kwargs}


def _raised(message: str) -> "ExternalSettledResult":
    return {"exc_type": "RuntimeError", "message": message}


def _value_of(result: ToolResult) -> Any:
    if not result.structured:
        return result.text
    try:
        return json.loads(result.text)
    except ValueError:
        return result.text
