"""Types as text: how a field's type is written in string signatures, prompts and saved programs."""

import ast
import datetime as dt
import decimal
import difflib
import ipaddress
import pathlib
import types
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NewType, Optional, Union, get_args, get_origin

import pydantic

from dspex_core.errors import SignatureError
from dspex_core.signature._constraints import KEYWORDS
from dspex_core.tools import Tool
from dspex_core.types import History, Image, ToolCalls

NAMED: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "set": set,
    "Any": Any,
    "None": None,
    "date": dt.date,
    "datetime": dt.datetime,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "bytes": bytes,
    "frozenset": frozenset,
    "Path": pathlib.Path,
    "HttpUrl": pydantic.HttpUrl,
    "AnyUrl": pydantic.AnyUrl,
    "EmailStr": pydantic.EmailStr,
    "AwareDatetime": pydantic.AwareDatetime,
    "NaiveDatetime": pydantic.NaiveDatetime,
    "PastDate": pydantic.PastDate,
    "FutureDate": pydantic.FutureDate,
    "IPv4Address": ipaddress.IPv4Address,
    "IPv6Address": ipaddress.IPv6Address,
    "Image": Image,
    "History": History,
    "Tool": Tool,
    "ToolCalls": ToolCalls,
}
"""Types that need no declaration, by the names that stand for them."""

GENERIC: dict[str, Any] = {
    "list": list,
    "List": list,
    "dict": dict,
    "Dict": dict,
    "tuple": tuple,
    "Tuple": tuple,
    "set": set,
    "Set": set,
    "frozenset": frozenset,
    "Sequence": Sequence,
    "Mapping": Mapping,
    "Optional": Optional,
    "Union": Union,
}
_CONSTANTS: dict[str, Any] = {
    "date": dt.date.fromisoformat,
    "datetime": dt.datetime.fromisoformat,
    "time": dt.time.fromisoformat,
    "timedelta": pydantic.TypeAdapter(dt.timedelta).validate_python,
    "Decimal": decimal.Decimal,
    "float": float,
}
_CONSTRAINTS: dict[str, Any] = {"Field": pydantic.Field, "StringConstraints": pydantic.StringConstraints}
RESERVED = {*NAMED, *GENERIC, *_CONSTRAINTS, "Literal", "Annotated"}
"""Names that no declared type can have."""


class TypeProblem(Exception):  # noqa: N818 - never leaves this room
    """What is wrong with a type's text, and at which character of it, counted from 0."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at = at


def type_name(annotation: Any) -> str:  # noqa: PLR0911 - one line for each form of a type
    """A type as Python would write it, for instance `Literal['a', 'b']` or `list[str]`; constraints are left out."""
    if annotation is None or annotation is types.NoneType:
        return "None"
    if annotation is Any:
        return "Any"
    if annotation is ...:
        return "..."
    if isinstance(annotation, NewType):
        return type_name(annotation.__supertype__)
    origin = get_origin(annotation)
    if origin is None:
        return getattr(annotation, "__name__", str(annotation))
    arguments = get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(repr(value) for value in arguments)}]"
    names = [type_name(argument) for argument in arguments]
    if origin in (Union, types.UnionType):
        return " | ".join(names)
    name = getattr(origin, "__name__", str(origin))
    return f"{name}[{', '.join(names)}]" if names else name


def parse_type(text: str, custom_types: Mapping[str, Any] | None = None) -> Any:
    """The type that `text` names; the inverse of `type_name` for built-in types. Nothing is ever evaluated.

    Constraints may be written as in Python: `Annotated[int, Field(ge=1, le=5)]`.

    Args:
        text: Such as `list[str]`.
        custom_types: Further types by the names that stand for them in the text.

    Raises:
        SignatureError: If the text is no type expression, or names a type that a string cannot stand for.
    """
    try:
        return read_type(text, custom_types or {})
    except TypeProblem as problem:
        raise SignatureError(f"type {text!r}, character {problem.at + 1}: {problem}") from None


def read_type(text: str, custom_types: Mapping[str, Any]) -> Any:
    """What `parse_type` gives.

    Raises:
        TypeProblem: Where `parse_type` raises a SignatureError.
    """
    indented = len(text) - len(text.lstrip())
    try:
        expression = ast.parse(text.strip(), mode="eval").body
        return _TypeReader(text.strip(), custom_types).type_of(expression)
    except SyntaxError as error:
        at = _index(text.strip(), error.lineno or 1, (error.offset or 1) - 1)
        raise TypeProblem(indented + at, f"{text.strip()!r} is not a type: {error.msg}") from None
    except (MemoryError, RecursionError, ValueError):
        raise TypeProblem(indented, f"{text.strip()[:80]!r} is not a type") from None
    except TypeProblem as problem:
        problem.at += indented
        raise


class _TypeReader:
    """Makes types of expressions of one text; knows where in it they stand."""

    def __init__(self, text: str, custom_types: Mapping[str, Any]) -> None:
        self._text = text
        self._custom = custom_types

    def type_of(self, node: ast.expr) -> Any:  # noqa: PLR0911 - one line for each form of a type
        match node:
            case ast.Constant(value=None):
                return None
            case ast.Name(id=name) if name in self._custom:
                return self._custom[name]
            case ast.Name(id=name) if name in NAMED:
                return NAMED[name]
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return Union[self.type_of(left), self.type_of(right)]  # noqa: UP007 - operands are values here
            case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
                return self._choices(node, _elements(values))
            case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *constraints])):
                return self._annotated(node, self.type_of(inner), [self._constraint(one) for one in constraints])
            case ast.Subscript(value=ast.Name(id=name), slice=arguments) if name in GENERIC:
                return self._parametrized(node, name, _elements(arguments))
            case _:
                written = ast.unparse(node)
                near = difflib.get_close_matches(written, [*self._custom, *RESERVED], n=1)
                raise self._problem(
                    node,
                    f"{written!r} is not a type that a string can name{f'; did you mean {near[0]}?' if near else ','} "
                    "give others as custom_types={name: type}, or declare a class Signature",
                )

    def _parametrized(self, node: ast.expr, name: str, elements: list[ast.expr]) -> Any:
        if not elements:
            raise self._problem(node, f"{name}[…]: name a type between the brackets")
        tuples = GENERIC[name] is tuple
        arguments = tuple(... if tuples and _is_ellipsis(element) else self.type_of(element) for element in elements)
        wanted = {"dict": 2, "Dict": 2, "Mapping": 2, "Union": 0}.get(name, 0 if tuples else 1)
        if wanted and len(arguments) != wanted:
            raise self._problem(node, f"{name}[…] takes {('one type argument', 'two type arguments')[wanted - 1]}")
        try:
            return GENERIC[name][arguments if len(arguments) != 1 else arguments[0]]
        except TypeError as error:
            raise self._problem(node, f"{name}[…]: {error}") from None

    def _annotated(self, node: ast.expr, inner: Any, constraints: list[Any]) -> Any:
        if not constraints:
            raise self._problem(node, "Annotated[…]: write Field(…) after the type")
        return Annotated[(inner, *constraints)]

    def _constraint(self, node: ast.expr) -> Any:
        match node:
            case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords) if name in _CONSTRAINTS:
                given = {str(keyword.arg): self._constant(keyword.value) for keyword in keywords}
                if unknown := [one for one in given if name == "Field" and one not in KEYWORDS]:
                    raise self._problem(node, f"{ast.unparse(node)}: Field knows no {unknown[0]}")
                try:
                    return _CONSTRAINTS[name](**given)
                except (TypeError, ValueError, pydantic.PydanticUserError) as error:
                    reason = str(error).partition("\n")[0]
                    raise self._problem(node, f"{ast.unparse(node)}: {reason}") from None
            case _:
                raise self._problem(node, f"{ast.unparse(node)!r} is no Field(…) with constants as its arguments")

    def _constant(self, node: ast.expr) -> Any:
        try:
            match node:
                case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str() as text)], keywords=[]) if (
                    name in _CONSTANTS
                ):
                    return _CONSTANTS[name](text)
                case _:
                    return ast.literal_eval(node)
        except (ValueError, TypeError, ArithmeticError):
            raise self._problem(node, f"{ast.unparse(node)!r} is not a constant") from None

    def _choices(self, node: ast.expr, elements: list[ast.expr]) -> Any:
        if not elements:
            raise self._problem(node, "Literal[…]: name a value between the brackets")
        return Literal[tuple(self._choice(element) for element in elements)]

    def _choice(self, node: ast.expr) -> Any:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError):
            value = ...
        if value is None or isinstance(value, str | int | float | bytes):
            return value
        raise self._problem(node, f"Literal[…]: {ast.unparse(node)!r} needs quotes or is not a constant")

    def _problem(self, node: ast.expr, reason: str) -> TypeProblem:
        return TypeProblem(_index(self._text, node.lineno, _characters(self._text, node)), reason)


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _characters(text: str, node: ast.expr) -> int:
    """Where a node starts on its line; the parser counts bytes."""
    lines = text.split("\n")
    line = lines[min(node.lineno, len(lines)) - 1]
    return len(line.encode()[: node.col_offset].decode(errors="ignore"))


def _index(text: str, line: int, column: int) -> int:
    lines = text.split("\n")
    return min(sum(len(before) + 1 for before in lines[: line - 1]) + max(column, 0), len(text))
