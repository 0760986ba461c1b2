"""Types written down: as text, with the classes that the text names as data."""

import dataclasses
import enum
import inspect
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, NewType, Union, cast, get_args, get_origin

import typing_extensions
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, PydanticUndefined, to_jsonable_python

from dspex_core.signature._constraints import Unwritable, as_text, field_keywords
from dspex_core.signature._declared import EnumSpec, Member, RecordSpec, TypeSpec
from dspex_core.signature._refusing import refuse_code
from dspex_core.signature._types import GENERIC, NAMED, RESERVED, type_name

_NAME_OF = {id(value): name for name, value in NAMED.items()} | {id(types.NoneType): "None"}
_GENERIC_OF: dict[Any, str] = {value: name for name, value in reversed(GENERIC.items())}
_FACTORIES: dict[Any, str] = {
    kind: kind.__name__ for kind in (list, dict, set, tuple, frozenset, str, int, float, bool)
}
_SCALARS = (str, int, float, bool, types.NoneType)
_ENUM_BASES: dict[Any, Any] = {object: "Enum", str: "str", int: "int", float: "float"}
# What these settings say is in the fields already, or says nothing about values.
_SAID_ELSEWHERE = {"alias_generator", "title_generator", "arbitrary_types_allowed", "protected_namespaces",
                   "ignored_types", "defer_build", "plugin_settings", "cache_strings"}  # fmt: skip


class _Record(NamedTuple):
    """What all kinds of records have.

    Attributes:
        kind: What pydantic takes it for.
        doc: Its docstring.
        config: Its pydantic configuration.
        fields: Its fields by name.
        required: Fields that must be given; None if the fields say so themselves.
    """

    kind: Literal["model", "root_model", "dataclass", "typed_dict"]
    doc: str | None
    config: Mapping[str, Any]
    fields: Mapping[str, FieldInfo]
    required: frozenset[str] | None = None


class TypeWriter:
    """Writes types, and keeps the classes that it meets on the way."""

    def __init__(self) -> None:
        self._names: dict[type, str] = {}
        self._specs: dict[str, TypeSpec] = {}

    @property
    def types(self) -> dict[str, TypeSpec]:
        """Classes met, by the names that stand for them in the text, in the order they were met."""
        return {name: self._specs[name] for name in self._names.values()}

    def write(self, annotation: Any) -> str:
        """The type as text.

        Raises:
            Unwritable: If it, or a type within it, has parts that are code.
        """
        if id(annotation) in _NAME_OF:
            return _NAME_OF[id(annotation)]
        if annotation is ...:
            return "..."
        if isinstance(annotation, NewType):
            return self.write(annotation.__supertype__)
        if get_origin(annotation) in (None, *_GENERIC_OF, Annotated, Literal, types.UnionType):
            return self._declared(annotation) if get_origin(annotation) is None else self._composed(annotation)
        return self._declared(annotation)

    def _composed(self, annotation: Any) -> str:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self._constrained(arguments[0], field_keywords(FieldInfo.from_annotation(annotation)))
        if origin is Literal:
            return f"Literal[{', '.join(_choice(value) for value in arguments)}]"
        inner = [self.write(argument) for argument in arguments]
        if origin in (Union, types.UnionType):
            return " | ".join(inner)
        return f"{_GENERIC_OF[origin]}[{', '.join(inner)}]" if inner else _GENERIC_OF[origin]

    def _constrained(self, annotation: Any, keywords: dict[str, Any]) -> str:
        written, beside = self.write(annotation), as_text(keywords)
        return f"Annotated[{written}, {', '.join(beside)}]" if beside else written

    def _declared(self, kind: Any) -> str:
        if not isinstance(kind, type):
            raise Unwritable(f"{type_name(kind)} is no type that JSON could hold")
        if kind not in self._names:
            self._names[kind] = self._free_name(kind.__name__)
            self._specs[self._names[kind]] = self._spec(kind)
        return self._names[kind]

    def _free_name(self, wanted: str) -> str:
        stem = re.sub(r"\W", "_", wanted).lstrip("_") or "Type"
        stem = stem if stem.isidentifier() else f"Type{stem}"
        name, number = stem, 2
        while name in RESERVED or name in self._names.values():
            name, number = f"{stem}_{number}", number + 1
        return name

    def _spec(self, kind: Any) -> TypeSpec:
        name = kind.__name__
        refuse_code(kind)
        try:
            if issubclass(kind, enum.Enum):
                return _enum(kind)
            if typing_extensions.is_typeddict(kind):
                return self._written(name, _typed_dict(kind))
            if issubclass(kind, BaseModel):
                return self._written(name, _model(kind))
            if dataclasses.is_dataclass(kind):
                return self._written(name, _dataclass(kind))
        except (NameError, AttributeError, TypeError) as error:
            raise Unwritable(f"{name} has a field whose type is not known: {error}") from None
        raise Unwritable(f"only its own code can read the values of {name}")

    def _written(self, name: str, record: _Record) -> RecordSpec:
        required = record.required
        return RecordSpec(
            kind=record.kind,
            name=name,
            doc=inspect.cleandoc(record.doc or ""),
            config={
                setting: _json(f"{name}.model_config[{setting!r}]", value)
                for setting, value in record.config.items()
                if setting not in _SAID_ELSEWHERE
            },
            members=tuple(
                self._member(name, member, field, field.is_required() if required is None else member in required)
                for member, field in record.fields.items()
            ),
        )

    def _member(self, owner: str, name: str, field: FieldInfo, required: bool) -> Member:  # noqa: FBT001 - a fact, not a switch
        factory: Any = field.default_factory
        if factory is not None and factory not in _FACTORIES:
            raise Unwritable(f"the default of {owner}.{name} is made by code")
        default: Any = None if field.default in (PydanticUndefined, ...) else field.default
        try:
            keywords = {what: value for what, value in field_keywords(field).items() if what != "description"}
            if type(default) not in _SCALARS:
                keywords["validate_default"] = True  # as JSON, it is not yet of its type
            text = self._constrained(field.annotation, keywords)
        except Unwritable as error:
            raise Unwritable(f"{owner}.{name}: {error}") from None
        return Member(
            name=name,
            type=text,
            desc=field.description or "",
            required=required,
            default=_json(f"the default of {owner}.{name}", default),
            factory="" if factory is None else _FACTORIES[factory],
        )


def _model(kind: type[BaseModel]) -> _Record:
    if not kind.__pydantic_complete__:
        kind.model_rebuild(raise_errors=False)
    root = issubclass(kind, cast("Any", RootModel))
    doc = None if root and kind.__doc__ == RootModel.__doc__ else kind.__doc__
    return _Record("root_model" if root else "model", doc, cast("Any", kind.model_config), kind.model_fields)


def _dataclass(kind: Any) -> _Record:
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    known: Mapping[str, FieldInfo] = getattr(kind, "__pydantic_fields__", {})
    fields = {
        field.name: known.get(field.name) or FieldInfo.from_annotated_attribute(hints[field.name], cast("Any", field))
        for field in dataclasses.fields(kind)
    }
    generated = (kind.__doc__ or "").startswith(f"{kind.__name__}(")
    config = getattr(kind, "__pydantic_config__", {})
    return _Record("dataclass", None if generated else kind.__doc__, config, fields)


def _typed_dict(kind: Any) -> _Record:
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    fields = {name: FieldInfo.from_annotation(_unqualified(hint)) for name, hint in hints.items()}
    config = getattr(kind, "__pydantic_config__", {})
    return _Record("typed_dict", kind.__doc__, config, fields, kind.__required_keys__)


def _enum(kind: type[enum.Enum]) -> EnumSpec:
    base: Any = _ENUM_BASES.get(vars(kind)["_member_type_"])
    for named in (enum.StrEnum, enum.IntEnum):
        base = named.__name__ if issubclass(kind, named) else base
    members = {name: member.value for name, member in kind.__members__.items()}
    if base is None or issubclass(kind, enum.Flag) or not all(type(value) in _SCALARS for value in members.values()):
        raise Unwritable(f"{kind.__name__} has members that JSON does not know")
    return EnumSpec(name=kind.__name__, base=base, doc=inspect.cleandoc(kind.__doc__ or ""), members=members)


def _unqualified(hint: Any) -> Any:
    while get_origin(hint) in (typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly):
        hint = get_args(hint)[0]
    return hint


def _choice(value: Any) -> str:
    if value is None or type(value) in (str, int, bool, float, bytes):
        return repr(value)
    raise Unwritable(f"Literal[{value!r}] is no choice of constants")


def _json(what: str, value: Any) -> Any:
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        raise Unwritable(f"{what}, {value!r:.80}, is not JSON") from None
