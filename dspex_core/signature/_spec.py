import json
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, PydanticUserError, SerializerFunctionWrapHandler, TypeAdapter
from pydantic import model_serializer as serialized

from dspex_core.errors import SignatureError
from dspex_core.signature._building import classes_of
from dspex_core.signature._constraints import Unwritable
from dspex_core.signature._declared import TypeSpec
from dspex_core.signature._fields import Role
from dspex_core.signature._types import parse_type, type_name
from dspex_core.signature._writing import TypeWriter


class FieldSpec(BaseModel):
    """One field of a signature, written down.

    Attributes:
        name: Its name.
        role: Whether it is given or asked for.
        type: Its type as text, with its constraints: `Annotated[int, Field(ge=1, le=5)]`.
        desc: What it holds, as told to the model.
        types: Classes that the type names, written down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Role
    type: str
    desc: str = ""
    types: dict[str, TypeSpec] = {}

    def annotation(self) -> Any:
        """The type, constraints included. Classes are made anew of what is written, and are the same each time.

        Raises:
            SignatureError: If this describes no type.
        """
        try:
            return parse_type(self.type, classes_of(self.types))
        except SignatureError as error:
            raise SignatureError(f"field {self.name!r}: {error}") from None

    @serialized(mode="wrap")
    def _without_the_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written = cast("dict[str, Any]", handler(self))
        if not self.types:
            written.pop("types", None)
        return written


def write_field(name: str, role: Role, annotation: Any, desc: str) -> FieldSpec:
    """A field, written down.

    Args:
        name: Its name.
        role: Whether it is given or asked for.
        annotation: Its type, constraints included.
        desc: What it holds.

    Raises:
        Unwritable: If the field, made again, would show something else to models or take other answers.
    """
    writer = TypeWriter()
    text = writer.write(annotation)
    written = FieldSpec(name=name, role=role, type=text, desc=desc, types=writer.types)
    names = [spec.name for spec in writer.types.values()]
    if twice := sorted(name for name in set(names) if names.count(name) > 1):
        raise Unwritable(f"two of its classes are named {twice[0]}")
    try:
        again = written.annotation()
    except SignatureError as error:
        raise Unwritable(str(error)) from None
    if again != annotation and _shown(again) != _shown(annotation):
        raise Unwritable("read again, it would be another type")
    return written


def _shown(annotation: Any) -> tuple[str, ...]:
    """What models see of a type, and what becomes of values: its name and its schemas, in order."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        schemas = [json.dumps(adapter.json_schema(mode=mode)) for mode in ("validation", "serialization")]
    except (PydanticUserError, TypeError, ValueError) as error:
        raise Unwritable(f"{type_name(annotation)} has no JSON schema: {str(error).partition(chr(10))[0]}") from None
    return (type_name(annotation), *schemas)
