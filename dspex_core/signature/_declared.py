"""Classes that a signature's types name, as data: what is left of them without their code."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer


class _Written(BaseModel):
    """What is empty is not written, so that files stay short and readable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _without_the_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        always = {name for name, field in type(self).model_fields.items() if field.is_required()} | {"kind"}
        return {
            name: value
            for name, value in handler(self).items()
            if name in always or value != type(self).model_fields[name].get_default(call_default_factory=True)
        }


class Member(_Written):
    """One field of a record.

    Attributes:
        name: Its name.
        type: Its type as text, with constraints and aliases.
        desc: What it holds.
        required: Whether a value must be given.
        default: Value if none is given, as JSON.
        factory: Built-in type that makes a default, such as "list".
    """

    name: str
    type: str
    desc: str = ""
    required: bool = True
    default: Any = None
    factory: str = ""


class RecordSpec(_Written):
    """A class with fields, written down.

    Attributes:
        kind: What pydantic takes it for.
        name: Its own name, as prompts show it.
        doc: Its docstring, which goes into the JSON schema.
        config: Its pydantic configuration.
        members: Its fields, in order.
    """

    kind: Literal["model", "root_model", "dataclass", "typed_dict"]
    name: str
    doc: str = ""
    config: dict[str, Any] = {}
    members: tuple[Member, ...]


class EnumSpec(_Written):
    """An enumeration, written down.

    Attributes:
        name: Its own name, as prompts show it.
        base: Python class that its members build on.
        doc: Its docstring, which goes into the JSON schema.
        members: Values by member name.
    """

    kind: Literal["enum"] = "enum"
    name: str
    base: Literal["Enum", "StrEnum", "IntEnum", "str", "int", "float"]
    doc: str = ""
    members: dict[str, str | int | float | bool | None]


TypeSpec = Annotated[RecordSpec | EnumSpec, Field(discriminator="kind")]
"""A class, written down."""
