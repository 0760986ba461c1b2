import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from dspex_core.adapters._layout import Layout
from dspex_core.adapters._values import fitted, format_value, parse_value
from dspex_core.errors import AdapterParseError
from dspex_core.signature import type_adapter

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
_STARTS_TRIED = 64


def validated(layout: Layout, found: Mapping[str, Any], *, answer: str) -> dict[str, Any]:
    """Output fields as their types.

    Args:
        layout: Which fields are wanted.
        found: What the answer holds for each: text, or a JSON value.
        answer: The answer, for the error.

    Raises:
        AdapterParseError: If one is missing or does not fit; nothing else is ever raised.
    """
    outputs: dict[str, Any] = {}
    for name, field in layout.outputs.items():
        if name not in found:
            raise AdapterParseError(f"output field {name!r} is missing", answer=answer)
        value, validator = found[name], type_adapter(layout.signature, name)
        try:
            if isinstance(value, str) or field.annotation is str:
                outputs[name] = parse_value(format_value(value), field.annotation, validator)
            else:
                outputs[name] = fitted(value, validator)
        except ValueError as error:
            raise AdapterParseError(f"output field {name!r}: {error}", answer=answer) from None
    return outputs


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a model wrote: all of its answer, in a code block, or with words around it."""
    for candidate in _candidates(text):
        for read in (json.loads, ast.literal_eval):
            try:
                value: Any = read(candidate)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
            if isinstance(value, dict):
                return {str(name): entry for name, entry in cast("dict[Any, Any]", value).items()}
    return None


def _candidates(text: str) -> Iterator[str]:
    yield text.strip()
    yield from (block.strip() for block in _FENCED.findall(text))
    decoder, start = json.JSONDecoder(), text.find("{")
    for _ in range(_STARTS_TRIED):
        if start < 0:
            return
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            pass
        else:
            yield text[start:end]
        start = text.find("{", start + 1)
    end = text.rfind("}")
    yield text[text.find("{") : end + 1]
