import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar, cast

import pydantic
from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter
from pydantic.fields import FieldInfo

from dspex_core.errors import SignatureError
from dspex_core.signature._constraints import Unwritable, without
from dspex_core.signature._fields import InputField, OutputField, Role, role_of
from dspex_core.signature._parse import parse_signature, problem_at
from dspex_core.signature._spec import FieldSpec, write_field
from dspex_core.signature._types import type_name

T = TypeVar("T")


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

    def __call__(cls, *arguments: Any, **options: Any) -> "type[Signature]":
        """`Signature("question -> answer", "instructions")` is `signature_of` of the same arguments.

        Raises:
            SignatureError: As `signature_of`; and for any other class, since a signature has no instances.
        """
        if cls is not Signature or not arguments:
            raise SignatureError(
                f"{cls.__name__} is a signature, which has no instances: give it to Predict or signature_of"
            )
        return signature_of(*arguments, **options)

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
            if role_of(field) is None:
                raise SignatureError(f"field {name!r} of {cls.__name__} must be = InputField() or = OutputField()")
        for role in ("input", "output"):
            if not any(role_of(field) == role for field in cls.model_fields.values()):
                raise SignatureError(f"signature {cls.__name__} has no {role} field")

    @classmethod
    def prepend(cls, name: str, field: Any = None, type_: Any = None) -> "type[Signature]":
        """A new signature with one more field, before the others of its role.

        Args:
            name: Its name.
            field: `InputField(…)` or `OutputField(…)`; by default `OutputField()`.
            type_: Its type; by default `str`.

        Raises:
            SignatureError: If there is a field of that name, or it cannot be a field.
        """
        return cls.insert(0, name, field, type_)

    @classmethod
    def append(cls, name: str, field: Any = None, type_: Any = None) -> "type[Signature]":
        """A new signature with one more field, after the others of its role; takes what `prepend` takes.

        Raises:
            SignatureError: As `prepend`.
        """
        return cls.insert(-1, name, field, type_)

    @classmethod
    def insert(cls, index: int, name: str, field: Any = None, type_: Any = None) -> "type[Signature]":
        """A new signature with one more field.

        Args:
            index: Its place among the fields of its role, from 0; negative from the end, where -1 is the last place.
            name: Its name.
            field: `InputField(…)` or `OutputField(…)`; by default `OutputField()`.
            type_: Its type; by default `str`.

        Raises:
            SignatureError: If there is a field of that name, no such place, or it cannot be a field.
        """
        if name in cls.model_fields:
            raise SignatureError(f"signature {cls.__name__} has a field {name!r} already")
        made = OutputField() if field is None else field
        role = role_of(made) if isinstance(made, FieldInfo) else None
        if role is None:
            raise SignatureError(f"field {name!r} must be InputField(…) or OutputField(…), not {field!r:.80}")
        inputs, outputs = list(_definitions(cls.input_fields).items()), list(_definitions(cls.output_fields).items())
        fields = inputs if role == "input" else outputs
        place = index + len(fields) + 1 if index < 0 else index
        if not 0 <= place <= len(fields):
            raise SignatureError(
                f"signature {cls.__name__} has {len(fields)} {role} fields: there is no place {index} for {name!r}"
            )
        fields.insert(place, (name, (str if type_ is None else type_, made)))
        return _create(cls.__name__, cls.instructions, dict(inputs + outputs))

    @classmethod
    def delete(cls, name: str) -> "type[Signature]":
        """A new signature without a field.

        Raises:
            SignatureError: If there is none of that name, or it is the last of its role.
        """
        _require_field(cls, name)
        kept = {other: definition for other, definition in _definitions(cls.model_fields).items() if other != name}
        return _create(cls.__name__, cls.instructions, kept)

    @classmethod
    def with_instructions(cls, instructions: str) -> "type[Signature]":
        """A new signature with other instructions; an empty text stands for a sentence made of the field names."""
        return _create(cls.__name__, instructions, _definitions(cls.model_fields))

    @classmethod
    def with_updated_fields(cls, name: str, type_: Any = None, **changes: Any) -> "type[Signature]":
        """A new signature with one field changed.

        Args:
            name: The field.
            type_: Its new type, which comes without the constraints of the old one; None keeps the type.
            **changes: `desc` and constraints, as `InputField` takes them; what is not named stays.

        Raises:
            SignatureError: If there is no such field, or it cannot be changed like this.
        """
        field = _require_field(cls, name)
        make = InputField if role_of(field) == "input" else OutputField
        changed = _attempt(cls.__name__, lambda: make(**{"desc": field.description or "", **changes}))
        kept = () if type_ is not None else without(field.metadata, changes)
        annotation = field.annotation if type_ is None else type_
        definition = (Annotated[(annotation, *kept)] if kept else annotation, changed)
        return _create(cls.__name__, cls.instructions, _definitions(cls.model_fields) | {name: definition})

    @classmethod
    def equals(cls, other: Any) -> bool:
        """Whether another signature has the same instructions and the same fields in the same order.

        Types are the same that a model and its answers cannot tell apart, so a signature equals what is made of its
        spec. Names of signatures do not count. `==` asks whether it is the very same class.
        """
        if not isinstance(other, SignatureMeta):
            return False
        return _essence(cls) == _essence(cast("type[Signature]", other))

    @classmethod
    def to_spec(cls) -> "SignatureSpec":
        """The signature as JSON-ready data, with the classes that its types name.

        Raises:
            SignatureError: If something of a type is code, such as a validator, and would be lost.
        """
        fields: list[FieldSpec] = []
        for name, field in cls.model_fields.items():
            try:
                fields.append(_written(cls, name))
            except Unwritable as error:
                raise SignatureError(
                    f"field {name!r} of {cls.__name__} cannot be written down, as {type_name(field.annotation)}: "
                    f"{error}; keep the program in an importable module and name it as package.module:attribute"
                ) from None
        return SignatureSpec(name=cls.__name__, instructions=cls.instructions, fields=tuple(fields))


class SignatureSpec(BaseModel):
    """A signature, written down: what saved programs and workflow inputs hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    instructions: str
    fields: tuple[FieldSpec, ...]

    def build(self) -> type[Signature]:
        """The signature class again. No code of a user's is needed: classes that its types name are made anew.

        Raises:
            SignatureError: If this describes no signature.
        """
        definitions = {
            field.name: (field.annotation(), (InputField if field.role == "input" else OutputField)(desc=field.desc))
            for field in self.fields
        }
        return _create(self.name, self.instructions, definitions)


def signature_of(
    declaration: type[Signature] | str | Mapping[str, Any],
    instructions: str | None = None,
    *,
    custom_types: Mapping[str, Any] | None = None,
) -> type[Signature]:
    """A signature class from a class, from a string, or from fields by name.

        signature_of('text "the message", stars: int -> team: Literal["billing", "bug"]', "Find the team.")
        signature_of({"text": InputField(desc="the message"), "stars": (int, OutputField(le=5))}, "Rate it.")

    In a string, a field is a name, then perhaps a colon and a type, then perhaps a description in quotes.

    Args:
        declaration: The class, the string, or the fields: each a pair of type and field, or a field that is text.
        instructions: What to do, in place of what the class says or of a sentence made of the field names.
        custom_types: Types by the names that stand for them in the string.

    Raises:
        SignatureError: If it is none of these; for a string, says at which character.
    """
    if isinstance(declaration, str):
        return _from_string(declaration, instructions or "", custom_types or {})
    if isinstance(declaration, Mapping):
        pairs: dict[str, Any] = {
            name: field if isinstance(field, tuple) else (str, field) for name, field in declaration.items()
        }
        return _create("DeclaredSignature", instructions or "", pairs)
    if isinstance(cast("Any", declaration), SignatureMeta) and declaration.model_fields:
        return declaration if instructions is None else declaration.with_instructions(instructions)
    raise SignatureError(
        f"a signature is a Signature class or a string such as 'question -> answer', not {declaration!r}"
    )


def _from_string(text: str, instructions: str, custom_types: Mapping[str, Any]) -> type[Signature]:
    parsed = parse_signature(text, custom_types)
    definitions = {field.name: (field.type, InputField(desc=field.desc)) for field in parsed.inputs}
    definitions |= {field.name: (field.type, OutputField(desc=field.desc)) for field in parsed.outputs}
    try:
        return _create("StringSignature", instructions, definitions)
    except SignatureError:
        for field in (*parsed.inputs, *parsed.outputs):
            try:
                TypeAdapter(field.type)
            except (PydanticUserError, NameError, TypeError, ValueError) as error:
                reason = str(error).partition("\n")[0]
                raise problem_at(text, field.at, f"field {field.name!r}: {reason}") from None
        raise


@lru_cache(maxsize=4096)
def type_adapter(signature: type[Signature], name: str) -> TypeAdapter[Any]:
    """The validator of one field: its type with its constraints."""
    return TypeAdapter(_annotated(signature.model_fields[name]))


def _annotated(field: FieldInfo) -> Any:
    beside = list(field.metadata)
    if field.discriminator is not None:
        beside.append(pydantic.Field(discriminator=field.discriminator))
    return Annotated[(field.annotation, *beside)] if beside else field.annotation


@lru_cache(maxsize=4096)
def _written(signature: type[Signature], name: str) -> FieldSpec:
    field = signature.model_fields[name]
    return write_field(name, role_of(field) or "output", _annotated(field), field.description or "")


def _essence(signature: type[Signature]) -> tuple[Any, ...]:
    """What two signatures have in common if they are equal."""
    fields: list[Any] = []
    for name, field in signature.model_fields.items():
        try:
            fields.append(_written(signature, name))
        except Unwritable:
            fields.append((name, role_of(field), field.annotation, field.metadata, field.description))
    return (signature.instructions, *fields)


def _require_field(signature: type[Signature], name: str) -> FieldInfo:
    if name not in signature.model_fields:
        known = ", ".join(signature.model_fields)
        raise SignatureError(f"signature {signature.__name__} has no field {name!r}; its fields are {known}")
    return signature.model_fields[name]


def _create(name: str, instructions: str, definitions: dict[str, tuple[Any, Any]]) -> type[Signature]:
    return _attempt(
        name,
        lambda: pydantic.create_model(
            name, __base__=Signature, __doc__=instructions or None, **cast("Any", definitions)
        ),
    )


def _attempt(name: str, build: Callable[[], T]) -> T:
    try:
        return build()
    except (ImportError, NameError, TypeError, ValueError, PydanticUserError) as error:
        raise SignatureError(f"signature {name}: {error}") from None


def _definitions(fields: Mapping[str, FieldInfo]) -> dict[str, tuple[Any, Any]]:
    return {name: (field.annotation, field) for name, field in fields.items()}


@lru_cache(maxsize=4096)
def _fields_of(signature: type[Signature], role: Role) -> dict[str, FieldInfo]:
    return {name: field for name, field in signature.model_fields.items() if role_of(field) == role}
