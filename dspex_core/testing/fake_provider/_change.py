"""What of a provider's settings can be changed while it runs."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dspex_core.errors import ConfigurationError


class SettingsChange(BaseModel):
    """New values for some settings; those not given stay as they are. The names are those of `ProviderSettings`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_ms: float = 0.0
    fault_rate: float = 0.0
    fault_kinds: str | tuple[str, ...] = ()
    capacity: int | None = None
    api_key: str | None = Field(default=None, repr=False)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    retry_after_seconds: float = 0.0
    retry_after_format: Literal["seconds", "date"] = "seconds"
    slow_seconds: float = 0.0
    chunk_characters: int = 1
    chunk_latency_ms: float = 0.0
    outage: Literal["unavailable", "drop", "hang"] | None = None

    @classmethod
    def of(cls, given: dict[str, Any]) -> Self:
        """The change that these values stand for.

        Raises:
            ConfigurationError: A name is unknown, or a value of the wrong type.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigurationError(_complaint(error)) from None

    @classmethod
    def read(cls, body: bytes) -> Self:
        """The change that a JSON body stands for. Raises as `of` does."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise ConfigurationError(_complaint(error)) from None

    def given(self) -> dict[str, Any]:
        """The new values by name."""
        return self.model_dump(exclude_unset=True)


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "it"
    known = ", ".join(SettingsChange.model_fields)
    return f"the settings cannot be changed: {name}: {first['msg']}; while it runs, these can be: {known}"
