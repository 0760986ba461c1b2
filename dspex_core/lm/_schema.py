from typing import Any, cast


def is_strict(schema: Any) -> bool:
    """Whether the provider can hold to a schema strictly: every object in it is closed, and nothing is optional.

    Source: OpenAI's guide to structured outputs, "Supported schemas".
    """
    if isinstance(schema, list):
        return all(map(is_strict, cast("list[Any]", schema)))
    if not isinstance(schema, dict):
        return True
    entries = cast("dict[str, Any]", schema)
    if not entries:
        return False
    if entries.get("type") == "object":
        known = entries.get("properties")
        if entries.get("additionalProperties") is not False or not known:
            return False
        if set(known) != set(entries.get("required", ())):
            return False
    named = [*entries.get("properties", {}).values(), *entries.get("$defs", {}).values()]
    nested = [entries[key] for key in ("items", "anyOf", "prefixItems") if key in entries]
    return "default" not in entries and all(map(is_strict, [*named, *nested]))
