import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from dspex_core.errors import SignatureError
from dspex_core.signature._types import TypeProblem, read_type

_OPENING = {"[": "]", "(": ")", "{": "}"}


class ParsedField(NamedTuple):
    """A field of a string signature.

    Attributes:
        at: Where it starts in the text, counted from 0.
        name: Its name.
        type: Its type; `str` if none is written.
        desc: The text in quotes after it.
    """

    at: int
    name: str
    type: Any
    desc: str


class ParsedSignature(NamedTuple):
    """The fields of a string signature, in order."""

    inputs: tuple[ParsedField, ...]
    outputs: tuple[ParsedField, ...]


def parse_signature(text: str, custom_types: Mapping[str, Any]) -> ParsedSignature:
    """Fields of a string of the form `name: type "description", … -> name: type "description", …`.

    Type and description may be left out.

    Raises:
        SignatureError: Naming the character where the text stops making sense.
    """
    try:
        return _Parser(text, custom_types).signature()
    except TypeProblem as problem:
        raise problem_at(text, problem.at, str(problem)) from None


def problem_at(text: str, at: int, reason: str) -> SignatureError:
    """The error that points at a character of a string signature."""
    return SignatureError(f"signature {text!r}, character {at + 1}: {reason}")


class _Parser:
    def __init__(self, text: str, custom_types: Mapping[str, Any]) -> None:
        self._text = text
        self._custom_types = custom_types
        self._outside = set(_outside_brackets_and_quotes(text))

    def signature(self) -> ParsedSignature:
        sides = list(self._split(0, len(self._text), "->"))
        if len(sides) != 2:  # noqa: PLR2004 - inputs and outputs
            at = len(self._text) if len(sides) == 1 else sides[1][1]
            raise TypeProblem(at, "write inputs -> outputs, with exactly one '->'")
        inputs, outputs = (self._fields(start, end) for start, end in sides)
        taken = {field.name for field in inputs}
        for field in outputs:
            if field.name in taken:
                raise TypeProblem(field.at, f"{field.name!r} is both an input and an output")
        return ParsedSignature(inputs, outputs)

    def _split(self, start: int, end: int, separator: str) -> Iterator[tuple[int, int]]:
        """Start and end of the parts between separators."""
        at = start
        while at < end:
            if at in self._outside and self._text.startswith(separator, at):
                yield start, at
                start = at = at + len(separator)
            else:
                at += 1
        yield start, end

    def _fields(self, start: int, end: int) -> tuple[ParsedField, ...]:
        fields: dict[str, ParsedField] = {}
        for first, last in self._split(start, end, ","):
            field = self._field(first, last)
            if field.name in fields:
                raise TypeProblem(field.at, f"{field.name!r} is there twice")
            fields[field.name] = field
        return tuple(fields.values())

    def _field(self, start: int, end: int) -> ParsedField:
        end, desc = self._description(start, end)
        declared = self._text[start:end]
        at = start + len(declared) - len(declared.lstrip())
        name, colon, annotation = declared.partition(":")
        name = name.strip()
        _check_name(name, at)
        if not colon:
            return ParsedField(at, name, str, desc)
        type_at = start + declared.index(":") + 1
        if not annotation.strip():
            raise TypeProblem(type_at, f"field {name!r}: its type is missing after the colon")
        try:
            return ParsedField(at, name, read_type(annotation, self._custom_types), desc)
        except TypeProblem as problem:
            raise TypeProblem(type_at + problem.at, f"field {name!r}: {problem}") from None

    def _description(self, start: int, end: int) -> tuple[int, str]:
        """Where a field's description starts, and what it says."""
        quote = next((at for at in range(start, end) if at in self._outside and self._text[at] in "'\""), None)
        if quote is None:
            return end, ""
        written = self._text[quote:end].strip()
        try:
            desc = ast.literal_eval(re.sub(r"\s*[\r\n]\s*", " ", written))
        except (SyntaxError, ValueError, MemoryError):
            raise TypeProblem(quote, f"{written} is no description: a field ends with one text in quotes") from None
        return quote, " ".join(desc.split())


def _check_name(name: str, at: int) -> None:
    if not name.isidentifier():
        raise TypeProblem(at, f"{name!r} is not a field name")
    if name.startswith("_"):
        raise TypeProblem(at, f"{name!r} is not a field name: it may not have leading underscores")
    if name.startswith("model_") and hasattr(BaseModel, name):
        raise TypeProblem(at, f"{name!r} is not a field name: pydantic has a use for it")


def _outside_brackets_and_quotes(text: str) -> Iterator[int]:
    """Characters outside; of brackets and quotes themselves, those that open a text in quotes.

    Raises:
        TypeProblem: If something is not closed, or closes nothing.
    """
    open_brackets: list[int] = []
    at = 0
    while at < len(text):
        if not open_brackets:
            yield at
        character = text[at]
        if character in "'\"":
            at = _end_of_quote(text, at)
        elif character in _OPENING:
            open_brackets.append(at)
        elif character in _OPENING.values() and (not open_brackets or _OPENING[text[open_brackets.pop()]] != character):
            raise TypeProblem(at, f"the bracket {character!r} closes nothing")
        at += 1
    if open_brackets:
        raise TypeProblem(open_brackets[-1], "a bracket is not closed")


def _end_of_quote(text: str, start: int) -> int:
    at = start + 1
    while at < len(text) and text[at] != text[start]:
        at += 2 if text[at] == "\\" else 1
    if at >= len(text):
        raise TypeProblem(start, "a quote is not closed")
    return at
