"""Values as text in a prompt, and text in an answer as values."""

import ast
import json
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from dspex_core.tools import Tool

_QUOTES = "\"'`"


def format_value(value: Any) -> str:
    """A field's value as a model reads it: text as it is, everything structured as JSON."""
    if isinstance(value, str):
        return value
    plain = to_jsonable_python(value, fallback=_described)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _described(value: Any) -> str:
    return value.describe() if isinstance(value, Tool) else str(value)


def parse_value(text: str, annotation: Any, validator: TypeAdapter[Any]) -> Any:
    """The value that a model wrote, as the field's type.

    Raises:
        ValueError: If the text does not fit; says how, in one line.
    """
    candidate: Any = text
    if get_origin(annotation) is Literal:
        candidate = _choose(text, get_args(annotation))
    elif annotation is not str:
        candidate = _structured(text)
    try:
        return validator.validate_python(candidate)
    except ValidationError as error:
        try:
            return validator.validate_python(text)
        except ValidationError:
            raise ValueError(reason_of(error)) from None


def reason_of(error: ValidationError) -> str:
    """The first thing that is wrong with a value, in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where + ': ' if where else ''}{first['msg']}"


def _choose(text: str, choices: tuple[Any, ...]) -> Any:
    """The choice meant: exact, without the quotes around it, or in another case."""
    bare = text.strip().strip(_QUOTES).strip()
    for choice in choices:
        if str(choice) == bare:
            return choice
    folded = [choice for choice in choices if str(choice).casefold() == bare.casefold()]
    return folded[0] if len(folded) == 1 else bare


def _structured(text: str) -> Any:
    stripped = text.strip()
    if stripped.startswith("```"):
        stripped = stripped.strip("`").removeprefix("json").strip()
    for read in (json.loads, ast.literal_eval):
        try:
            return read(stripped)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
    return stripped
