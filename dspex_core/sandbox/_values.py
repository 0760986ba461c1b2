from collections.abc import Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import PurePath
from typing import Any, cast

DEEPEST = 50
"""Levels of lists within lists that are followed."""

MOST_BITS = 14_000
"""Size of an integer that Python is still willing to write in digits."""

_PLAIN = (bool, int, float, complex, date, time, timedelta, Decimal, PurePath, type(None), type(...))


class TooMuchError(Exception):
    """A value is larger or deeper than allowed."""


def shown(value: Any, limit: int) -> str:
    """A value as Python would write it, up to so many characters.

    Never longer, whatever the value is: a few lists that hold each other many times would fill any memory otherwise.
    """
    pieces: list[str] = []
    length = 0
    for piece in _written(value, limit, 0):
        pieces.append(piece)
        length += len(piece)
        if length > limit:
            return "".join(pieces)[:limit] + " …"
    return "".join(pieces)


def plain(value: Any, limit: int) -> Any:
    """The value as JSON has it: a copy, in which nothing occurs twice.

    Raises:
        TooMuchError: If it would take more than about so many characters, or is too deep.
        TypeError: If JSON has no such value.
    """
    return _Copy(limit).of(value, 0)


class _Copy:
    def __init__(self, limit: int) -> None:
        self._left = limit

    def of(self, value: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise TooMuchError(f"it is nested more than {DEEPEST} levels deep")
        self._spend(_size(value))
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise TooMuchError(f"an integer of {value.bit_length()} bits is too large")
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if value is None or isinstance(value, (str, bool, int, float)):
            return value
        if isinstance(value, dict):
            items = cast("dict[Any, Any]", value).items()
            return {self._key(key): self.of(item, depth + 1) for key, item in items}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.of(item, depth + 1) for item in cast("list[Any]", value)]
        if isinstance(value, (date, time, Decimal, PurePath)):
            return str(value)
        raise TypeError(f"a {_type_name(value)} cannot be given to a tool: give text, numbers, lists and dicts")

    def _key(self, key: Any) -> str:
        if isinstance(key, str):
            self._spend(len(key))
            return key
        return shown(key, 100)

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise TooMuchError("it is too large")


def _size(value: Any) -> int:
    """About how many characters the value itself takes, without what it holds."""
    if isinstance(value, (str, bytes)):
        return len(value)
    return value.bit_length() // 3 + 2 if isinstance(value, int) else 2


def _written(value: Any, limit: int, depth: int) -> Iterator[str]:
    if isinstance(value, (str, bytes)):
        yield repr(value[: limit + 1])
    elif isinstance(value, _PLAIN):
        yield _number(value)
    elif depth >= DEEPEST:
        yield "…"
    elif isinstance(value, dict):
        yield from _listed("{", "}", _pairs(cast("dict[Any, Any]", value), limit, depth))
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = cast("list[Any]", value)
        opening, closing = _brackets(items)
        yield from _listed(opening, closing, (_written(item, limit, depth + 1) for item in items))
    else:
        yield f"<{_type_name(value)}>"


def _pairs(value: dict[Any, Any], limit: int, depth: int) -> Iterator[Iterator[str]]:
    for key, item in value.items():
        yield _joined(_written(key, limit, depth + 1), _written(item, limit, depth + 1))


def _joined(key: Iterator[str], item: Iterator[str]) -> Iterator[str]:
    yield from key
    yield ": "
    yield from item


def _listed(opening: str, closing: str, items: Iterator[Iterator[str]]) -> Iterator[str]:
    yield opening
    for first in islice(items, 1):
        yield from first
    for item in items:
        yield ", "
        yield from item
    yield closing


def _brackets(value: Any) -> tuple[str, str]:
    if isinstance(value, tuple):
        return "(", ",)" if len(cast("tuple[Any, ...]", value)) == 1 else ")"
    if isinstance(value, frozenset):
        return "frozenset({", "})"
    if isinstance(value, set):
        return ("{", "}") if value else ("set(", ")")
    return "[", "]"


def _number(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:
        # More digits than Python is willing to write.
        return f"<an integer of {value.bit_length()} bits>"


def _type_name(value: Any) -> str:
    # An object of a class that the code defines comes as a stand-in that knows the class's name.
    return str(getattr(value, "name", None) or type(value).__name__)[:100]
