import re
from collections.abc import Iterable, Mapping, Sequence
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
        written = [block(name, format_value(values[name]) if name in values else NOT_GIVEN) for name in names]
    text = "\n\n".join([*written, closing] if closing else written)
    if not images:
        return text
    pieces = re.split(IMAGE_PLACE, text)
    parts: list[TextPart | ImagePart] = []
    for index, piece in enumerate(pieces):
        if index % 2:
            # A text may hold such a mark, too; it then stands for no image, or for one that is there anyway.
            parts.extend(ImagePart(url=url) for at, url in enumerate(images) if str(at) == piece)
        elif piece:
            parts.append(TextPart(text=piece))
    return tuple(parts)


def as_given(signature: type[Signature], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values of fields as they are shown.

    Images and tools that came as JSON are images and tools again, and several texts where one is wanted, such as
    passages, are numbered, as DSPy's prompts do it.

    Raises:
        FieldValueError: If what should be an image or a tool is none; names the field.
    """
    rich = {
        name: made(signature, name, values[name]) for name in _rich_fields(signature) if values.get(name) is not None
    }
    several = {
        name: _numbered(values[name]) for name in _texts(signature) if isinstance(values.get(name), (list, tuple))
    }
    return {**values, **rich, **several} if rich or several else values


def made(signature: type[Signature], name: str, value: Any) -> Any:
    """A field's value as its type.

    Raises:
        FieldValueError: If it does not fit; names the field.
    """
    try:
        return fitted(value, type_adapter(signature, name))
    except ValueError as error:
        raise FieldValueError(f"field {name!r} of {signature.__name__}: {error}") from None


def _numbered(texts: Sequence[Any]) -> str:
    quoted = [_quoted(format_value(text)) for text in texts]
    return quoted[0] if len(quoted) == 1 else "\n".join(f"[{number}] {text}" for number, text in enumerate(quoted, 1))


def _quoted(text: str) -> str:
    if "\n" not in text and "«" not in text and "»" not in text:
        return f"«{text}»"
    indented = "\n    ".join(text.splitlines())
    return f"«««\n    {indented}\n»»»"


@lru_cache(maxsize=4096)
def _texts(signature: type[Signature]) -> tuple[str, ...]:
    return tuple(name for name, field in signature.input_fields.items() if field.annotation is str)


@lru_cache(maxsize=4096)
def _rich_fields(signature: type[Signature]) -> tuple[str, ...]:
    fields = signature.model_fields.items()
    return tuple(name for name, field in fields if _RICH.search(type_name(field.annotation)))
