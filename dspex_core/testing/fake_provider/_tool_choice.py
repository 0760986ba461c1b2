"""Which tool the model calls, if any, and with what arguments: from the words of the prompt alone."""

import re
from collections.abc import Mapping
from typing import Any

from dspex_core.testing.fake_provider._call import ToolCall, ToolSpec
from dspex_core.testing.fake_provider._schema import fitting
from dspex_core.testing.fake_provider._words import words

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def chosen_call(tools: tuple[ToolSpec, ...], query: Mapping[str, str], *, demanded: str | None) -> ToolCall | None:
    """The call of the tool whose name and description share most words with the query; the first of several such.

    Args:
        tools: What may be called.
        query: The inputs by name.
        demanded: The tool that must be called, or "*" for any.

    Returns:
        None if nothing is demanded and no tool shares a word with the query.
    """
    candidates = [tool for tool in tools if demanded in (None, "*", tool.name)]
    if not candidates:
        return None
    asked = set(words(" ".join(query.values())))
    best = max(candidates, key=lambda tool: _likeness(tool, asked))
    if demanded is None and not _likeness(best, asked):
        return None
    return ToolCall(best.name, _arguments(best.parameters, query))


def _likeness(tool: ToolSpec, asked: set[str]) -> float:
    name, about = set(words(tool.name.replace("_", " "))), set(words(tool.description))
    return 2 * len(asked & name) + len(asked & about)


def _arguments(schema: dict[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """What the inputs of the same names say; where the function needs more, a number or the text of the query."""
    text = " ".join(query.values())
    given: dict[str, Any] = {}
    properties: dict[str, Any] = schema.get("properties", {})
    for name, part in properties.items():
        if name in query or name in schema.get("required", ()):
            given[name] = _argument(part.get("type"), query.get(name, text))
    return fitting(schema, given) if properties else {}


def _argument(kind: Any, text: str) -> Any:
    if kind in ("integer", "number"):
        found = _NUMBER.search(text)
        return None if found is None else int(float(found.group())) if kind == "integer" else float(found.group())
    return text if kind == "string" else None
