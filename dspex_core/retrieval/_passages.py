from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from dspex_core.errors import DatasetError
from dspex_core.seam import Passage

Source = str | Mapping[str, Any] | Passage
"""A passage's text, a record that holds it, or the passage itself."""


def passages_of(sources: Iterable[Source], *, text_field: str = "text", id_field: str = "id") -> list[Passage]:
    """Passages with distinct ids, for an index.

    Args:
        sources: Texts, records, or passages.
        text_field: The record's field that holds the text.
        id_field: The record's field that tells it apart; without one, its position does. All others are metadata.

    Raises:
        DatasetError: If there are none, one has no text, or two have the same id.
    """
    passages: list[Passage] = []
    positions: dict[str, int] = {}
    for position, source in enumerate(sources):
        passage = _passage(source, position, text_field, id_field)
        if passage.id in positions:
            raise DatasetError(f"passages {positions[passage.id]} and {position} have the same id {passage.id!r}")
        positions[passage.id] = position
        passages.append(passage)
    if not passages:
        raise DatasetError("an index needs at least one passage; there are none")
    return passages


def _passage(source: Source, position: int, text_field: str, id_field: str) -> Passage:
    if isinstance(source, Passage):
        return source if source.id else source.model_copy(update={"id": str(position)})
    if isinstance(source, str):
        return Passage(text=source, id=str(position))
    text = source.get(text_field)
    if not isinstance(text, str):
        raise DatasetError(
            f"passage {position} has no text in {text_field!r}; its fields are {', '.join(source)}. "
            "Name the right one with text_field="
        )
    others = {name: value for name, value in source.items() if name not in (text_field, id_field)}
    try:
        metadata = to_jsonable_python(others)
    except PydanticSerializationError as error:
        raise DatasetError(f"passage {position}: its metadata cannot be written as JSON: {error}") from None
    return Passage(text=text, id=str(source.get(id_field, position)), metadata=metadata)
