"""Values as text in a prompt, and text in an answer as values."""

import ast
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from dspex_core.tools import Tool

_QUOTES = "\"'`"
# Read as numbers first, these would lose digits or be refused.
_WRITTEN_AS_TEXT = {Decimal, UUID, date, datetime, time, timedelta, bytes}


def format_value(value: Any) -> str:
    """A field's value as a model reads it: lists and records as JSON, anything else as Python prints it."""
    if isinstance(value, str):
        return value
    plain = to_jsonable_python(value, fallback=_described)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, (list, dict)) else str(plain)


def _described(value: Any) -> str:
    return value.describe() if isinstance(value, Tool) else str(value)


def parse_value(text: str, annotation: Any, validator: TypeAdapter[Any]) -> Any:
    """The value that a model wrote, as the field's type.

    Raises:
        ValueError: If the text does not fit; says how, in one line.
    """
    readings = _readings(text, _without_none(annotation))
    try:
        return fitted(next(readings), validator)
    except ValueError as error:
        for other in readings:
            with suppress(ValueError):
                return fitted(other, validator)
        raise ValueError(str(error)) from None


def fitted(value: Any, validator: TypeAdapter[Any]) -> Any:
    """A value, as the field's type. Half a character, as a model may write it in JSON, becomes a question mark.

    Raises:
        ValueError: If it does not fit; says how, in one line.
    """
    try:
        return validator.validate_python(_sendable(value))
    except ValidationError as error:
        raise ValueError(reason_of(error)) from None
    except Exception as error:  # noqa: BLE001 - a user's validator may raise anything
        raise ValueError(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from None


def _sendable(value: Any) -> Any:
    """The value without lone surrogates, which no later prompt, file or result of a run could hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        entries = cast("dict[Any, Any]", value).items()
        return {_sendable(key): _sendable(entry) for key, entry in entries}
    kind = cast("Any", type(cast("object", value)))
    return cast("Any", kind(map(_sendable, value)) if kind in (list, tuple, set) else value)


def reason_of(error: ValidationError) -> str:
    """The first thing that is wrong with a value, in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"


def _readings(text: str, annotation: Any) -> Iterator[Any]:
    """What a text may mean, the likeliest first; the next one is worked out only if that does not do."""
    if annotation is str:
        yield text
        return
    if get_origin(annotation) is Literal:
        yield _choose(text, get_args(annotation))
        yield text
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        members = annotation.__members__
        chosen = _choose(text, tuple(member.value for member in members.values()))
        named = {name.casefold(): member.value for name, member in members.items()}
        yield chosen
        yield named.get(_bare(text).casefold(), text)
    elif isinstance(annotation, type) and annotation in _WRITTEN_AS_TEXT:
        yield _bare(text)
    else:
        yield _structured(text)
        yield text
        return
    yield _structured(text)


def _without_none(annotation: Any) -> Any:
    """The one type that is meant if there is a value at all."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    others = [argument for argument in get_args(annotation) if argument is not NoneType]
    only = len(others) == 1 and (get_origin(others[0]) is Literal or isinstance(others[0], type))
    return others[0] if only and others[0] is not str else annotation


def _choose(text: str, choices: tuple[Any, ...]) -> Any:
    """The choice meant: exact, without the quotes around it, or in another case."""
    bare = _bare(text)
    for choice in choices:
        if str(choice) == bare:
            return choice
    folded = [choice for choice in choices if str(choice).casefold() == bare.casefold()]
    return folded[0] if len(folded) == 1 else bare


def _bare(text: str) -> str:
    return text.strip().strip(_QUOTES).strip()


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
