from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dspex_core.errors import FieldValueError


def _undescribed(schema: dict[str, Any]) -> None:
    schema.pop("description", None)  # the docstring is for people who write programs, not for models


class FieldValue(BaseModel):
    """A value that never changes; one that cannot be made says why in one line."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_undescribed)

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            reason = first["msg"].removeprefix("Value error, ")
            kind = type(self).__qualname__
            raise FieldValueError(f"{kind}: {where + ': ' if where else ''}{reason}") from None
