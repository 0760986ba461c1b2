"""Readers of answers that arrive in pieces."""

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol, cast

import pydantic_core

Piece = tuple[str, str]
"""An output field's name, and the next piece of its text."""


class FieldReader(Protocol):
    """Tells the fields of an answer apart while it arrives. One reader reads one answer.

    The pieces of a field, put together, are its text in the answer without the space around it.
    """

    def feed(self, text: str) -> Iterator[Piece]:
        """What a further piece of the answer makes known."""
        ...

    def close(self) -> Iterator[Piece]:
        """What is known only once the answer has ended."""
        ...


class MarkedReader:
    """Reads fields that stand between marks, such as `[[ ## name ## ]]` and the next of these, or `<name>`, `</name>`.

    Args:
        fields: The output fields.
        opening: Matches a mark that begins the field which its group "name" holds.
        ending: What matches the mark that ends a field; it may be one that begins the next.
        longest_mark: No mark is longer, in characters.
        beginning: What every mark begins with.
    """

    def __init__(
        self,
        fields: Collection[str],
        opening: re.Pattern[str],
        *,
        ending: Callable[[str], re.Pattern[str]],
        longest_mark: int,
        beginning: str,
    ) -> None:
        self._fields = fields
        self._opening = opening
        self._ending = ending
        self._longest_mark = longest_mark
        self._beginning = beginning
        self._field: str | None = None
        self._done: set[str] = set()
        self._said = False
        # A mark may have to stand at the beginning of a line, and the answer's beginning is one.
        self._text = "\n"

    def feed(self, text: str) -> Iterator[Piece]:
        """Text of the field under way, but for what may be the beginning of a mark, or space before one."""
        self._text += text
        while mark := self._sought().search(self._text):
            before, self._text = self._text[: mark.start()], self._text[mark.end() :]
            yield from self._say(before.rstrip())
            self._turn_to(mark.groupdict().get("name"))
        kept = self._kept()
        ready, self._text = self._text[: len(self._text) - kept], self._text[len(self._text) - kept :]
        yield from self._say(ready)

    def close(self) -> Iterator[Piece]:
        """The rest of the last field."""
        yield from self._say(self._text.rstrip())
        self._text = ""

    def _sought(self) -> re.Pattern[str]:
        return self._opening if self._field is None else self._ending(self._field)

    def _turn_to(self, name: str | None) -> None:
        if self._field is not None:
            self._done.add(self._field)
        self._field = name if name in self._fields and name not in self._done else None
        self._said = False

    def _kept(self) -> int:
        """Characters at the end that may belong to a mark that is not yet whole."""
        text, beginning = self._text, self._beginning
        at = text.find(beginning[0], max(0, len(text) - self._longest_mark))
        while at >= 0 and not (text.startswith(beginning, at) or beginning.startswith(text[at:])):
            at = text.find(beginning[0], at + 1)
        ready = text[:at] if at >= 0 else text
        return len(text) - len(ready.rstrip())

    def _say(self, text: str) -> Iterator[Piece]:
        if self._field is None:
            return
        text = text if self._said else text.lstrip()
        if text:
            self._said = True
            yield self._field, text


class JSONReader:
    """Reads the fields of one JSON object: text as it arrives, any other value once it is whole.

    Args:
        fields: The output fields.
    """

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = fields
        self._text = ""
        self._begun = False
        self._said: dict[str, str] = {}

    def feed(self, text: str) -> Iterator[Piece]:
        """What has been added to the texts, and values that are followed by another one."""
        self._text += text
        if not self._begun:
            # A model may say something, or open a code block, before the object.
            at = self._text.find("{")
            if at < 0:
                return
            self._begun, self._text = True, self._text[at:]
        yield from self._news(whole=False)

    def close(self) -> Iterator[Piece]:
        """The last value, if it is no text."""
        yield from self._news(whole=True)

    def _news(self, *, whole: bool) -> Iterator[Piece]:
        try:
            read: Any = pydantic_core.from_json(_object_in(self._text), allow_partial="trailing-strings")
        except ValueError:
            return
        values = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
        last = next(reversed(values), None)
        for name, value in values.items():
            if name not in self._fields or not (isinstance(value, str) or whole or name != last):
                continue
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            said = self._said.get(name, "")
            if text.startswith(said) and text != said:
                self._said[name] = text
                yield name, text[len(said) :]


def _object_in(text: str) -> str:
    # What follows the object, such as the end of a code block, would make all of it unreadable.
    end = text.rfind("}")
    rest = text[end + 1 :].strip()
    return text[: end + 1] if end >= 0 and rest and not set(rest) - set("`\n ") else text
