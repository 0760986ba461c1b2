"""Classes made again of what was written of them."""

import dataclasses
import enum
import keyword
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ForwardRef, cast

import pydantic
import typing_extensions
from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter

from dspex_core.errors import SignatureError
from dspex_core.signature._declared import EnumSpec, Member, RecordSpec, TypeSpec
from dspex_core.signature._types import NAMED, RESERVED, parse_type

_ENUMS: dict[str, Any] = {"StrEnum": enum.StrEnum, "IntEnum": enum.IntEnum}
_SPECS: TypeAdapter[dict[str, TypeSpec]] = TypeAdapter(dict[str, TypeSpec])
_HOME = "dspex_core.signature"


def classes_of(specs: Mapping[str, TypeSpec]) -> Mapping[str, Any]:
    """The classes of these specs, by the names that stand for them in types; for the same specs the same classes.

    Raises:
        SignatureError: If the specs make no classes.
    """
    return _built(_SPECS.dump_json(dict(specs)).decode()) if specs else {}


@lru_cache(maxsize=1024)
def _built(written: str) -> Mapping[str, Any]:
    specs = _SPECS.validate_json(written)
    for name, spec in specs.items():
        if name in RESERVED:
            raise SignatureError(f"{name!r} stands for a type of its own; no class can be declared under it")
        # Python itself runs some of these names as code.
        typed_dict = isinstance(spec, RecordSpec) and spec.kind == "typed_dict"
        members = spec.members if isinstance(spec, EnumSpec) else [member.name for member in spec.members]
        for identifier in (name, *(() if typed_dict else members)):
            hidden = identifier.startswith("__" if spec.kind == "enum" else "_")
            if not identifier.isidentifier() or keyword.iskeyword(identifier) or hidden:
                raise SignatureError(f"{identifier!r} is no name that a type or a field can have")
    return _Classes(specs).build()


class _Classes:
    """Builds classes that may name each other, and themselves, in any order."""

    def __init__(self, specs: Mapping[str, TypeSpec]) -> None:
        self._specs = specs
        self._known: dict[str, Any] = {}
        for name, spec in specs.items():
            if isinstance(spec, EnumSpec):
                self._known[name] = _attempt(spec, lambda spec=spec: _enum(spec))
            elif spec.kind == "typed_dict":
                self._known[name] = typing_extensions.TypedDict(spec.name, {})  # pyright: ignore  # noqa: PGH003
            elif spec.kind == "dataclass":
                self._known[name] = type(spec.name, (), {"__module__": _HOME, "__doc__": spec.doc or None})
            else:
                self._known[name] = ForwardRef(name)

    def build(self) -> Mapping[str, Any]:
        """All the classes by name."""
        records = {name: spec for name, spec in self._specs.items() if isinstance(spec, RecordSpec)}
        models = {name: spec for name, spec in records.items() if spec.kind in ("model", "root_model")}
        made = {name: _attempt(spec, lambda spec=spec: self._model(spec)) for name, spec in models.items()}
        self._known |= made
        for name, spec in records.items():
            if name not in models:
                _attempt(spec, lambda name=name, spec=spec: self._fill(self._known[name], spec))
        for name, model in made.items():
            model.model_config.pop("defer_build")
            _attempt(models[name], lambda model=model: model.model_rebuild(force=True, _types_namespace=self._known))
        return self._known

    def _model(self, spec: RecordSpec) -> type[BaseModel]:
        config = ConfigDict(**cast("ConfigDict", {**spec.config, "defer_build": True}))
        fields: dict[str, Any] = {member.name: (self._type(member), _default(member)) for member in spec.members}
        base: Any = type("Base", (RootModel,) if spec.kind == "root_model" else (BaseModel,), {"model_config": config})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Field name .* shadows an attribute")
            return pydantic.create_model(spec.name, __base__=base, __module__=_HOME, __doc__=spec.doc or None, **fields)

    def _fill(self, kind: Any, spec: RecordSpec) -> None:
        if spec.kind == "dataclass":
            self._fill_dataclass(kind, spec)
        else:
            self._fill_typed_dict(kind, spec)

    def _fill_dataclass(self, kind: Any, spec: RecordSpec) -> None:
        kind.__annotations__ = {member.name: self._type(member) for member in spec.members}
        kind.__pydantic_config__ = spec.config
        for member in spec.members:
            if member.factory:
                setattr(kind, member.name, dataclasses.field(default_factory=NAMED[member.factory]))
            elif not member.required:
                setattr(kind, member.name, dataclasses.field(default=_hashable(member.default)))
        dataclasses.dataclass(kw_only=True)(kind)

    def _fill_typed_dict(self, kind: Any, spec: RecordSpec) -> None:
        kind.__annotations__.update({member.name: self._type(member) for member in spec.members})
        required = {member.name for member in spec.members if member.required}
        kind.__required_keys__ = frozenset(required)
        kind.__optional_keys__ = frozenset(kind.__annotations__) - required
        kind.__doc__ = spec.doc or None
        kind.__module__ = _HOME
        if spec.config:
            kind.__pydantic_config__ = spec.config

    def _type(self, member: Member) -> Any:
        annotation = parse_type(member.type, self._known)
        return Annotated[annotation, pydantic.Field(description=member.desc)] if member.desc else annotation


def _hashable(default: Any) -> Any:
    """As dataclasses want defaults; pydantic reads tuples as it reads lists."""
    return tuple(map(_hashable, cast("list[Any]", default))) if isinstance(default, list) else default


def _default(member: Member) -> Any:
    if member.required:
        return ...
    if member.factory:
        return pydantic.Field(default_factory=NAMED[member.factory])
    return member.default


def _enum(spec: EnumSpec) -> type[enum.Enum]:
    members = list(spec.members.items())
    if spec.base in ("str", "int", "float"):
        made: Any = enum.Enum(spec.name, members, type=NAMED[spec.base], module=_HOME)
    else:
        made = _ENUMS.get(spec.base, enum.Enum)(spec.name, members, module=_HOME)
    made.__doc__ = spec.doc or None
    return made


def _attempt(spec: TypeSpec, build: Any) -> Any:
    try:
        return build()
    except SignatureError as error:
        raise SignatureError(f"the type {spec.name}: {error}") from None
    except (TypeError, ValueError, NameError, ImportError, pydantic.PydanticUserError) as error:
        reason = str(error).partition("\n")[0]
        raise SignatureError(f"the type {spec.name}: {reason}") from None
