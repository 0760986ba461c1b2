"""What stands beside a type: bounds, patterns, aliases. Read from pydantic's metadata, written as Field(…)."""

import dataclasses
import datetime as dt
import decimal
import inspect
import math
import re
from collections.abc import Collection, Iterable
from typing import Any, cast

import annotated_types as at
import pydantic
from pydantic.fields import FieldInfo

_BOUNDS = (at.Ge, at.Gt, at.Le, at.Lt, at.MultipleOf, at.MinLen, at.MaxLen, at.Len, at.Interval)
_SWITCHES = (pydantic.StringConstraints, pydantic.Strict, pydantic.AllowInfNan)
_TEXT_ONLY = ("strip_whitespace", "to_lower", "to_upper", "ascii_only")
_OF_FIELD = ("title", "description", "examples", "exclude", "discriminator", "deprecated", "json_schema_extra",
             "frozen", "validate_default")  # fmt: skip
_ALIASES = ("alias", "validation_alias", "serialization_alias")
_BY_CODE = ("field_title_generator", "exclude_if")


KEYWORDS = frozenset(inspect.signature(pydantic.Field).parameters) - {"extra"}
"""What `pydantic.Field` understands; it would ignore others."""


class Unwritable(Exception):  # noqa: N818 - never leaves this room
    """Why a type cannot be written down."""


def keywords_of(metadata: Iterable[Any]) -> dict[str, Any]:
    """What some metadata says, as keywords of `Field` and `StringConstraints`.

    Raises:
        Unwritable: If it holds code, two values for one constraint, or something unknown.
    """
    found: dict[str, Any] = {}
    for item in metadata:
        for name, value in _read(item).items():
            if name in found and found[name] != value:
                raise Unwritable(f"{name} is there twice, as {found[name]!r} and as {value!r}")
            found[name] = value
    return found


def field_keywords(field: FieldInfo) -> dict[str, Any]:
    """What a field says beyond its type and default, as keywords of `Field`.

    Raises:
        Unwritable: As `keywords_of`.
    """
    found = keywords_of(field.metadata)
    for name in _BY_CODE:
        if getattr(field, name, None) is not None:
            raise Unwritable(f"{name} is code")
    found |= {name: getattr(field, name) for name in _OF_FIELD if getattr(field, name) is not None}
    aliases = {name: getattr(field, name) for name in _ALIASES if getattr(field, name) is not None}
    if aliases.get("alias") is not None and len(set(map(str, aliases.values()))) == 1:
        aliases = {"alias": field.alias}
    return found | aliases


def as_text(keywords: dict[str, Any]) -> list[str]:
    """Keywords as Python would write them: `Field(ge=1)`, `StringConstraints(strip_whitespace=True)`.

    Raises:
        Unwritable: If a value is no constant.
    """
    on_text = {name: value for name, value in keywords.items() if name in _TEXT_ONLY}
    others = {name: value for name, value in keywords.items() if name not in _TEXT_ONLY}
    return [
        f"{call}({', '.join(f'{name}={_constant(name, value)}' for name, value in given.items())})"
        for call, given in (("StringConstraints", on_text), ("Field", others))
        if given
    ]


def without(metadata: Iterable[Any], names: Collection[str]) -> tuple[Any, ...]:
    """The metadata, less what it says about some keywords; what is code stays as it is."""
    kept: list[Any] = []
    for item in metadata:
        try:
            said = keywords_of([item])
        except Unwritable:
            kept.append(item)
            continue
        on_text = {name: value for name, value in said.items() if name in _TEXT_ONLY and name not in names}
        others = {name: value for name, value in said.items() if name not in _TEXT_ONLY and name not in names}
        kept += [pydantic.StringConstraints(**on_text)] if on_text else []
        kept += [pydantic.Field(**others)] if others else []
    return tuple(kept)


def _read(item: Any) -> dict[str, Any]:
    if isinstance(item, str):
        return {}  # a note, which pydantic does not read either
    if isinstance(item, FieldInfo):
        return field_keywords(item)
    if isinstance(item, pydantic.Discriminator):
        return {"discriminator": item.discriminator}
    if isinstance(item, (*_BOUNDS, *_SWITCHES)):
        said = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
        return {
            name: _pattern(value)
            for name, value in said.items()
            if value is not None and not (name == "min_length" and value == 0)
        }
    if isinstance(item, at.BaseMetadata) and not dataclasses.is_dataclass(item):  # pydantic's bag of keywords
        return {name: _pattern(value) for name, value in vars(item).items() if value is not None}
    raise Unwritable(f"{type(item).__name__} is code")


def _pattern(value: Any) -> Any:
    if not isinstance(value, re.Pattern):
        return value
    pattern = cast("re.Pattern[str]", value)
    if pattern.flags != re.UNICODE:
        raise Unwritable(f"the pattern {pattern.pattern!r} has flags; write them into it, as (?i)")
    return pattern.pattern


def _constant(name: str, value: Any) -> str:  # noqa: PLR0911 - one line for each form of a constant
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return f"{type(value).__name__}('{value.isoformat()}')"
    if isinstance(value, decimal.Decimal):
        return f"Decimal('{value}')"
    if isinstance(value, dt.timedelta):
        return f"timedelta('{pydantic.TypeAdapter(dt.timedelta).dump_python(value, mode='json')}')"
    if isinstance(value, list):
        return f"[{', '.join(_constant(name, one) for one in cast('list[Any]', value))}]"
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value).items()
        return f"{{{', '.join(f'{_constant(name, key)}: {_constant(name, one)}' for key, one in pairs)}}}"
    raise Unwritable(f"{name}={value!r:.80} is no constant")
