from typing import Any, cast

from pydantic import AliasChoices, Field, model_validator

from dspex_core.types._base import FieldValue


class ToolCalls(FieldValue):
    """Calls of tools that a model asks for, in order, as an output of a signature.

        class Act(Signature):
            '''Decide what to look up.'''
            question: str = InputField()
            tools: list[Tool] = InputField()
            calls: ToolCalls = OutputField()

        ToolCalls(tool_calls=[{"name": "search", "args": {"query": "weather"}}])

    Read from a model's answer, a bare list of calls and a single call are taken too.

    Args:
        tool_calls: The calls, as `ToolCalls.ToolCall` or as dicts of name and args.

    Raises:
        FieldValueError: If these are no calls.
    """

    class ToolCall(FieldValue):
        """One call: the tool's name and its arguments by name.

        Raises:
            FieldValueError: If the name or the arguments are missing or of another type.
        """

        name: str = Field(min_length=1)
        args: dict[str, Any] = Field(default={}, validation_alias=AliasChoices("args", "arguments"))

    tool_calls: tuple[ToolCall, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_calls_alone(cls, given: Any) -> Any:
        if isinstance(given, list | tuple):
            return {"tool_calls": cast("list[Any]", given)}
        if isinstance(given, dict) and "name" in given:
            return {"tool_calls": [cast("dict[str, Any]", given)]}
        return cast("Any", given)
