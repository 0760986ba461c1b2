from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from dspex_core.signature import Signature
from dspex_core.tools import Tool
from dspex_core.types import History, ToolCalls


@dataclass(frozen=True)
class Layout:
    """Which fields of a signature stand in the prompt's text, and which reach the model by another way.

    Attributes:
        signature: The signature.
        inputs: Input fields written as text.
        outputs: Output fields asked for as text.
        history: The input whose exchanges are shown as messages of their own, if there is one.
        tools: The input whose tools go through the provider's function calling, if they do.
        tool_calls: The output that holds the calls which come back that way.
    """

    signature: type[Signature]
    inputs: Mapping[str, FieldInfo]
    outputs: Mapping[str, FieldInfo]
    history: str | None = None
    tools: str | None = None
    tool_calls: str | None = None

    @property
    def names(self) -> list[str]:
        """All fields written as text, in the signature's order."""
        return [name for name in self.signature.model_fields if name in self.inputs or name in self.outputs]


@lru_cache(maxsize=1024)
def layout_of(signature: type[Signature], *, native_tools: bool) -> Layout:
    """How a signature's fields reach the model and come back."""
    inputs, outputs = dict(signature.input_fields), dict(signature.output_fields)
    history = _first(inputs, lambda kind: kind is History)
    tools = _first(inputs, _is_tools) if native_tools else None
    tool_calls = _first(outputs, lambda kind: kind is ToolCalls) if native_tools else None
    if tools is None or tool_calls is None:
        tools = tool_calls = None
    for name in (history, tools):
        if name is not None:
            del inputs[name]
    if tool_calls is not None:
        del outputs[tool_calls]
    return Layout(signature, inputs, outputs, history, tools, tool_calls)


def _first(fields: Mapping[str, FieldInfo], fits: Callable[[Any], bool]) -> str | None:
    return next((name for name, field in fields.items() if fits(field.annotation)), None)


def _is_tools(kind: Any) -> bool:
    return kind is Tool or (get_origin(kind) is list and get_args(kind) == (Tool,))
