from typing import Any

from dspex_core.errors import SignatureError
from dspex_core.signature._types import parse_type

_OPENING = "[("
_CLOSING = "])"


def parse_signature(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Input and output fields of a string signature, as types by name; a field without a type is a `str`.

    Raises:
        SignatureError: Naming the character where the text stops making sense.
    """
    arrows = _split(text, "->")
    if len(arrows) != 2:  # noqa: PLR2004 - inputs and outputs
        raise SignatureError(f"signature {text!r}: write inputs -> outputs, with exactly one '->'")
    inputs, outputs = (_fields(text, start, part) for start, part in arrows)
    twice = sorted(inputs.keys() & outputs.keys())
    if twice:
        raise SignatureError(f"signature {text!r}: {twice[0]!r} is both an input and an output")
    return inputs, outputs


def _fields(text: str, offset: int, part: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for start, field in _split(part, ","):
        at = offset + start + len(field) - len(field.lstrip())
        name, colon, annotation = (piece.strip() for piece in field.partition(":"))
        if not name.isidentifier():
            raise SignatureError(f"signature {text!r}, character {at + 1}: {name!r} is not a field name")
        if name in fields:
            raise SignatureError(f"signature {text!r}, character {at + 1}: {name!r} is there twice")
        try:
            fields[name] = parse_type(annotation) if colon else str
        except SignatureError as error:
            raise SignatureError(f"signature {text!r}, character {at + 1}, field {name!r}: {error}") from None
    return fields


def _split(text: str, separator: str) -> list[tuple[int, str]]:
    """Parts between separators that stand outside brackets and quotes, each with its offset."""
    parts: list[tuple[int, str]] = []
    depth, quote, start = 0, "", 0
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif depth == 0 and index >= start and text.startswith(separator, index):
            parts.append((start, text[start:index]))
            start = index + len(separator)
    if quote or depth:
        raise SignatureError(f"signature {text!r}: a {'quote' if quote else 'bracket'} is not closed")
    parts.append((start, text[start:]))
    return parts
