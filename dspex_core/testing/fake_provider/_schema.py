"""JSON schemas: which fields one asks for, whether a provider takes it, and values that fit it."""

from collections.abc import Iterator
from typing import Any, cast

from dspex_core.testing.fake_provider._prompt import Field

Schema = dict[str, Any]

_TYPE_TEXTS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list"}
_EMPTY: dict[str, Any] = {"string": "", "integer": 0, "number": 0.0, "boolean": False, "null": None}


def schema_fields(schema: Schema) -> tuple[Field, ...]:
    """The properties of an object's schema as fields."""
    return tuple(
        Field(name, _type_text(resolved), str(resolved.get("description", "")), _labels(resolved))
        for name, part in _properties(schema).items()
        for resolved in [_resolved(part, schema)]
    )


def fitting(schema: Schema, value: Any, root: Schema | None = None) -> Any:
    """The value itself where it fits the schema, and the nearest that does where not: empty parts for missing ones."""
    root = schema if root is None else root
    schema = _resolved(schema, root)
    if choices := [schema["const"]] if "const" in schema else schema.get("enum"):
        return next((choice for choice in choices if str(choice) == str(value)), choices[0])
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return _fitting_any(alternatives, value, root)
    kind: Any = schema.get("type")
    if isinstance(kind, list):
        kinds = cast("list[str]", kind)
        return _fitting_any([schema | {"type": one} for one in kinds], value, root)
    if kind == "object" or "properties" in schema:
        return _fitting_object(schema, value, root)
    if kind == "array":
        items = [fitting(schema.get("items", {}), item, root) for item in _as_list(value)]
        missing = schema.get("minItems", 0) - len(items)
        return items + [fitting(schema.get("items", {}), None, root) for _ in range(missing)]
    return _fitting_plain(kind, schema, value)


def strictness_complaint(schema: Schema, name: str) -> str | None:
    """Why OpenAI would refuse the schema with `strict: true`; None if it would not.

    It takes an object at the top, and of every object that all properties are required and no others allowed.
    """
    prefix = f"Invalid schema for response_format '{name}'"
    if _resolved(schema, schema).get("type") != "object":
        return f"{prefix}: schema must be a JSON Schema of 'type: \"object\"'."
    for path, part in _objects(schema, ()):
        if part.get("additionalProperties") is not False:
            return f"{prefix}: In context={path}, 'additionalProperties' is required to be supplied and to be false."
        missing = [key for key in _properties(part) if key not in part.get("required", ())]
        if missing:
            return (
                f"{prefix}: In context={path}, 'required' is required to be supplied and to be an array including "
                f"every key in properties. Missing '{missing[0]}'."
            )
    return None


def _objects(part: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Every schema of an object within a schema, with its path."""
    if isinstance(part, list):
        for number, item in enumerate(cast("list[Any]", part)):
            yield from _objects(item, (*path, str(number)))
    if not isinstance(part, dict):
        return
    schema = cast("Schema", part)
    if schema.get("type") == "object":
        yield path, schema
    for key in ("properties", "$defs", "definitions"):
        for name, below in cast("dict[str, Any]", schema.get(key, {})).items():
            yield from _objects(below, (*path, key, name))
    for key in ("items", "anyOf", "allOf"):
        yield from _objects(schema.get(key), (*path, key))


def _properties(schema: Schema) -> dict[str, Schema]:
    return schema.get("properties", {})


def _resolved(schema: Schema, root: Schema) -> Schema:
    while reference := schema.get("$ref"):
        found: Any = root
        for step in str(reference).removeprefix("#").strip("/").split("/"):
            found = found.get(step, {}) if step else found
        schema = found
    parts: list[Schema] = schema.get("allOf", [])
    return _resolved(parts[0], root) if len(parts) == 1 else schema


def _type_text(schema: Schema) -> str:
    return _TYPE_TEXTS.get(str(schema.get("type")), "json")


def _labels(schema: Schema) -> tuple[str, ...]:
    return tuple(str(choice) for choice in schema.get("enum", ()))


def _fitting_any(alternatives: list[Schema], value: Any, root: Schema) -> Any:
    tried = [fitting(alternative, value, root) for alternative in alternatives]
    same = [found for found in tried if type(found) is type(value) and found == value]
    return (same or [found for found in tried if found is not None] or [None])[0]


def _fitting_object(schema: Schema, value: Any, root: Schema) -> dict[str, Any]:
    given = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    properties = _properties(schema)
    required: list[str] = schema.get("required", [])
    found = {
        name: fitting(part, given.get(name), root)
        for name, part in properties.items()
        if name in given or name in required
    }
    rest: Any = schema.get("additionalProperties", not properties)
    if not rest:
        return found
    below = cast("Schema", rest) if isinstance(rest, dict) else {}
    return found | {name: fitting(below, part, root) for name, part in given.items() if name not in properties}


def _fitting_plain(kind: str | None, schema: Schema, value: Any) -> Any:
    if kind is None:
        return value
    if kind == "string":
        return "" if value is None else value if isinstance(value, str) else str(value)
    if kind in ("integer", "number") and not isinstance(value, bool):
        number = value if isinstance(value, int | float) else _EMPTY[kind]
        number = max(number, schema.get("minimum", number), schema.get("exclusiveMinimum", number - 1) + 1)
        number = min(number, schema.get("maximum", number), schema.get("exclusiveMaximum", number + 1) - 1)
        return int(number) if kind == "integer" else number
    if kind == "boolean" and isinstance(value, bool):
        return value
    return _EMPTY.get(kind)


def _as_list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
