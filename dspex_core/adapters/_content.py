import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Protocol

from dspex_core.adapters._values import fitted, format_value
from dspex_core.errors import FieldValueError
from dspex_core.seam import ImagePart, TextPart
from dspex_core.signature import Signature, type_adapter, type_name
from dspex_core.types import IMAGE_PLACE, shown_images

_RICH = re.compile(r"\b(Image|Tool)\b")
NOT_GIVEN = "(not given in this example)"

Content = str | tuple[TextPart | ImagePart, ...]


class Block(Protocol):
    """Writes a field's name and its value, as text."""

    def __call__(self, name: str, value: str, /) -> str:
        """The field, written."""
        ...


def bracketed(name: str, value: str) -> str:
    """A field as the chat and JSON adapters show it."""
    return f"[[ ## {name} ## ]]\n{value}"


def tagged(name: str, value: str) -> str:
    """A field as the XML adapter shows it."""
    return f"<{name}>\n{value}\n</{name}>"


def named(name: str, value: str) -> str:
    """A field as the two-step adapter shows it."""
    return f"{name}: {value}"


def blocks(names: Iterable[str], values: Mapping[str, Any], *, block: Block, closing: str = "") -> Content:
    """Fields with their values, one below the other; images among the values become parts of their own."""
    with shown_images() as images:
        written = [block(name, NOT_GIVEN if values.get(name) is None else format_value(values[name])) for name in names]
    text = "\n\n".join([*written, closing] if closing else written)
    if not images:
        return text
    pieces = re.split(IMAGE_PLACE, text)
    parts: list[TextPart | ImagePart] = []
    for index, piece in enumerate(pieces):
        if index % 2:
            parts.append(ImagePart(url=images[int(piece)]))
        elif piece:
            parts.append(TextPart(text=piece))
    return tuple(parts)


def as_given(signature: type[Signature], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values of fields, with the images and tools that came as JSON made images and tools again.

    Raises:
        FieldValueError: If one is none; names the field.
    """
    names = [name for name in _rich_fields(signature) if values.get(name) is not None]
    return {**values, **{name: _made(signature, name, values[name]) for name in names}} if names else values


def _made(signature: type[Signature], name: str, value: Any) -> Any:
    try:
        return fitted(value, type_adapter(signature, name))
    except ValueError as error:
        raise FieldValueError(f"field {name!r} of {signature.__name__}: {error}") from None


@lru_cache(maxsize=4096)
def _rich_fields(signature: type[Signature]) -> tuple[str, ...]:
    fields = signature.model_fields.items()
    return tuple(name for name, field in fields if _RICH.search(type_name(field.annotation)))
