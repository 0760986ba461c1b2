"""Types as text: how a field's type is written in string signatures, prompts and saved programs."""

import ast
import datetime as dt
import types
from typing import Any, Literal, Optional, Union, get_args, get_origin

from dspex_core.errors import SignatureError
from dspex_core.types import History, Image, ToolCalls

_NAMED: dict[str, Any] = {
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
    "Image": Image,
    "History": History,
    "ToolCalls": ToolCalls,
}
_GENERIC: dict[str, Any] = {
    "list": list,
    "List": list,
    "dict": dict,
    "Dict": dict,
    "tuple": tuple,
    "Tuple": tuple,
    "set": set,
    "Set": set,
    "Optional": Optional,
    "Union": Union,
}


def type_name(annotation: Any) -> str:
    """A type as Python would write it, for instance `Literal['a', 'b']` or `list[str]`."""
    if annotation is None or annotation is types.NoneType:
        return "None"
    if annotation is Any:
        return "Any"
    origin = get_origin(annotation)
    if origin is None:
        return getattr(annotation, "__name__", str(annotation))
    if origin is Literal:
        return f"Literal[{', '.join(repr(value) for value in get_args(annotation))}]"
    names = [type_name(argument) for argument in get_args(annotation)]
    if origin in (Union, types.UnionType):
        return " | ".join(names)
    return f"{getattr(origin, '__name__', str(origin))}[{', '.join(names)}]"


def parse_type(text: str) -> Any:
    """The type that `text` names; the inverse of `type_name` for built-in types. Nothing is ever evaluated.

    Raises:
        SignatureError: If the text is no type expression, or names a type that a string cannot stand for.
    """
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise SignatureError(f"{text.strip()!r} is not a type: {error.msg}") from None
    return _build(expression, text.strip())


def is_nameable(annotation: Any) -> bool:
    """Whether `parse_type` gives this very type back from its name."""
    try:
        return parse_type(type_name(annotation)) == annotation
    except SignatureError:
        return False


def _build(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name) if name in _NAMED:
            return _NAMED[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_build(left, text), _build(right, text)]  # noqa: UP007 - operands are values here
        case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
            return Literal[tuple(_literal(value, text) for value in _elements(values))]
        case ast.Subscript(value=ast.Name(id=name), slice=arguments) if name in _GENERIC:
            return _parametrized(name, [_build(argument, text) for argument in _elements(arguments)], text)
        case _:
            known = ", ".join([*_NAMED, "Literal[…]", "Optional[…]"])
            raise SignatureError(
                f"{ast.unparse(node)!r} in {text!r} is not a type a string signature can name ({known}); "
                "declare a class Signature for other types"
            )


def _parametrized(name: str, arguments: list[Any], text: str) -> Any:
    if not arguments:
        raise SignatureError(f"{name}[…] in {text!r}: name a type between the brackets")
    try:
        return _GENERIC[name][tuple(arguments) if len(arguments) != 1 else arguments[0]]
    except TypeError as error:
        raise SignatureError(f"{name}[…] in {text!r}: {error}") from None


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _literal(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise SignatureError(
            f"Literal[…] in {text!r}: {ast.unparse(node)!r} needs quotes or is not a constant"
        ) from None
