import inspect
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

import pydantic
from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter
from pydantic.fields import FieldInfo

from dspex_core.errors import SignatureError
from dspex_core.signature._parse import parse_signature
from dspex_core.signature._types import is_nameable, parse_type, type_name

T = TypeVar("T")
Role = Literal["input", "output"]
_ROLE = "dspex_role"


def InputField(*, desc: str = "", **constraints: Any) -> Any:  # noqa: N802 - DSPy's name
    """Declare an input of a signature.

    Args:
        desc: What the field holds, as told to the model.
        **constraints: Any keyword of `pydantic.Field`, such as `max_length` or `ge`.
    """
    return pydantic.Field(description=desc or None, json_schema_extra={_ROLE: "input"}, **constraints)


def OutputField(*, desc: str = "", **constraints: Any) -> Any:  # noqa: N802 - DSPy's name
    """Declare an output of a signature; takes what `InputField` takes. Constraints are enforced on the answer."""
    return pydantic.Field(description=desc or None, json_schema_extra={_ROLE: "output"}, **constraints)


class _ClassProperty(Generic[T]):
    """A property of classes. Unlike `property`, it yields to a field of its name while pydantic collects the fields."""

    def __init__(self, read: Callable[[Any], T]) -> None:
        self._read = read
        self.__doc__ = read.__doc__

    def __get__(self, signature: type, meta: type) -> T:
        return self._read(signature)


class SignatureMeta(type(BaseModel)):
    """Gives signature classes readable properties: `Triage.instructions`, `Triage.output_fields`."""

    def __new__(cls, name: str, *arguments: Any, **options: Any) -> Any:
        with warnings.catch_warnings():
            # pydantic warns of fields named like its methods (`copy`, `json`). A signature is never instantiated.
            warnings.filterwarnings("ignore", message=r"Field name .* shadows an attribute")
            try:
                return super().__new__(cls, name, *arguments, **options)
            except PydanticUserError as error:
                raise SignatureError(f"signature {name}: {error.message}") from None

    def __hash__(cls) -> int:
        # Classes are told apart by identity; said here for type checkers, which otherwise look at the instances.
        return super().__hash__()

    @_ClassProperty
    def instructions(cls) -> str:
        """The task as told to the model: the class's docstring, or a sentence made of the field names."""
        doc = cls.__dict__.get("__doc__")
        if doc:
            return inspect.cleandoc(doc)
        inputs = ", ".join(f"`{name}`" for name in cls.input_fields)
        outputs = ", ".join(f"`{name}`" for name in cls.output_fields)
        return f"Given the fields {inputs}, produce the fields {outputs}."

    @_ClassProperty
    def input_fields(cls) -> dict[str, FieldInfo]:
        """Input fields by name, in order."""
        return _fields_of(cast("type[Signature]", cls), "input")

    @_ClassProperty
    def output_fields(cls) -> dict[str, FieldInfo]:
        """Output fields by name, in order."""
        return _fields_of(cast("type[Signature]", cls), "output")


class Signature(BaseModel, metaclass=SignatureMeta):
    """What one step of a program does: typed inputs, typed outputs and, as the docstring, the instruction.

        class Triage(Signature):
            '''Route a customer's message to the team that handles it.'''
            text: str = InputField(desc="the message")
            team: Literal["billing", "bug"] = OutputField()

    Field types are any pydantic type.

    Raises:
        SignatureError: When the class is defined, if a field is neither `InputField()` nor `OutputField()`, or if one
            of the two kinds is missing.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if _role_of(field) is None:
                raise SignatureError(f"field {name!r} of {cls.__name__} must be = InputField() or = OutputField()")
        for role in ("input", "output"):
            if not any(_role_of(field) == role for field in cls.model_fields.values()):
                raise SignatureError(f"signature {cls.__name__} has no {role} field")

    @classmethod
    def prepend_output(cls, name: str, annotation: Any, *, desc: str = "") -> "type[Signature]":
        """A new signature with one more output field, asked for before the others.

        Raises:
            SignatureError: If there is a field of that name already.
        """
        if name in cls.model_fields:
            raise SignatureError(f"signature {cls.__name__} has a field {name!r} already")
        outputs = {name: (annotation, OutputField(desc=desc))} | _definitions(cls.output_fields)
        return _create(cls.__name__, cls.instructions, _definitions(cls.input_fields) | outputs)

    @classmethod
    def to_spec(cls) -> "SignatureSpec":
        """The signature as JSON-ready data.

        Raises:
            SignatureError: If a field's type cannot be written down as text.
        """
        fields: list[FieldSpec] = []
        for name, field in cls.model_fields.items():
            if not is_nameable(field.annotation) or field.metadata:
                raise SignatureError(
                    f"field {name!r} of {cls.__name__}: the type {type_name(field.annotation)} with its constraints "
                    "cannot be written down; keep the program in an importable module and name it as "
                    "package.module:attribute"
                )
            role = _role_of(field) or "output"
            fields.append(
                FieldSpec(name=name, role=role, type=type_name(field.annotation), desc=field.description or "")
            )
        return SignatureSpec(name=cls.__name__, instructions=cls.instructions, fields=tuple(fields))


class FieldSpec(BaseModel):
    """One field of a signature, written down."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Role
    type: str
    desc: str = ""


class SignatureSpec(BaseModel):
    """A signature, written down: what saved programs and workflow inputs hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    instructions: str
    fields: tuple[FieldSpec, ...]

    def build(self) -> type[Signature]:
        """The signature class again."""
        definitions = {
            field.name: (
                parse_type(field.type),
                (InputField if field.role == "input" else OutputField)(desc=field.desc),
            )
            for field in self.fields
        }
        return _create(self.name, self.instructions, definitions)


def signature_of(declaration: type[Signature] | str) -> type[Signature]:
    """A signature class from a class or from a string such as "question, context: list[str] -> answer: bool".

    Raises:
        SignatureError: If it is neither; for a string, says at which character.
    """
    if isinstance(declaration, str):
        inputs, outputs = parse_signature(declaration)
        definitions = {name: (annotation, InputField()) for name, annotation in inputs.items()}
        definitions |= {name: (annotation, OutputField()) for name, annotation in outputs.items()}
        return _create("StringSignature", "", definitions)
    if isinstance(cast("Any", declaration), SignatureMeta) and declaration.model_fields:
        return declaration
    raise SignatureError(
        f"a signature is a Signature class or a string such as 'question -> answer', not {declaration!r}"
    )


@lru_cache(maxsize=4096)
def type_adapter(signature: type[Signature], name: str) -> TypeAdapter[Any]:
    """The validator of one field: its type with its constraints."""
    field = signature.model_fields[name]
    annotation: Any = field.annotation
    for constraint in field.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation)


def _create(name: str, instructions: str, definitions: dict[str, tuple[Any, Any]]) -> type[Signature]:
    try:
        return pydantic.create_model(name, __base__=Signature, __doc__=instructions or None, **cast("Any", definitions))
    except (NameError, TypeError, ValueError) as error:
        raise SignatureError(f"signature {name}: {error}") from None


def _definitions(fields: dict[str, FieldInfo]) -> dict[str, tuple[Any, Any]]:
    return {name: (field.annotation, field) for name, field in fields.items()}


def _role_of(field: FieldInfo) -> Role | None:
    extra = field.json_schema_extra
    return cast("dict[str, Any]", extra).get(_ROLE) if isinstance(extra, dict) else None


@lru_cache(maxsize=4096)
def _fields_of(signature: type[Signature], role: Role) -> dict[str, FieldInfo]:
    return {name: field for name, field in signature.model_fields.items() if _role_of(field) == role}
