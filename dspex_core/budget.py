"""What a run may take."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dspex_core.errors import ConfigurationError, UnknownNameError
from dspex_core.invalid import first_problem
from dspex_core.usage import Usage

BUDGET_REACHED = "budget reached"
"""How the reason begins for which a run waits for a larger budget."""

_LIMITS = {"usd", "lm_calls", "tokens", "seconds"}


class Limits(BaseModel):
    """So much may still be taken; None is as much as you like.

    Attributes:
        usd: US dollars.
        lm_calls: Calls that a provider answers; those from the cache are free.
        tokens: Tokens sent and received.
        seconds: Time, while it is neither paused nor parked.
    """

    model_config = ConfigDict(frozen=True)

    usd: float | None = Field(default=None, ge=0)
    lm_calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, ge=0)

    def less(self, usage: Usage, *, seconds: float = 0.0) -> "Limits":
        """What is left of it after something was taken; of money, nothing once a price is not known."""
        return Limits(
            usd=None if self.usd is None else 0.0 if usage.cost_usd is None else max(0.0, self.usd - usage.cost_usd),
            lm_calls=None if self.lm_calls is None else max(0, self.lm_calls - usage.lm_calls),
            tokens=None if self.tokens is None else max(0, self.tokens - tokens_of(usage)),
            seconds=None if self.seconds is None else max(0.0, self.seconds - seconds),
        )

    def but(self, other: "Limits") -> "Limits":
        """With another's limits in place of these, where it has any."""
        return Limits(**{**self.model_dump(include=_LIMITS), **other.model_dump(include=_LIMITS, exclude_none=True)})

    def taken(self, usage: Usage, *, seconds: float = 0.0) -> list[tuple[float, str]]:
        """What was taken of each limit, as a share of 0.0 to 1.0 and in words; first that of which most is taken."""
        cost = usage.cost_usd or 0.0
        parts = (
            (self.usd, cost, f"${cost:,.4f} of ${self.usd or 0:,g}"),
            (self.lm_calls, usage.lm_calls, f"{usage.lm_calls:,} of {self.lm_calls or 0:,} LM calls"),
            (self.tokens, tokens_of(usage), f"{tokens_of(usage):,} of {self.tokens or 0:,} tokens"),
            (self.seconds, seconds, f"{seconds:,.0f} of {self.seconds or 0:,g} s"),
        )
        found = [(min(1.0, part / limit) if limit else 1.0, said) for limit, part, said in parts if limit is not None]
        return sorted(found, key=lambda part: -part[0])

    @property
    def spent(self) -> bool:
        """Whether nothing is left of something."""
        return any(left is not None and left <= 0 for left in (self.usd, self.lm_calls, self.tokens, self.seconds))

    def __str__(self) -> str:
        named = (
            ("" if self.usd is None else f"${self.usd:g}"),
            ("" if self.lm_calls is None else f"{self.lm_calls:,} LM calls"),
            ("" if self.tokens is None else f"{self.tokens:,} tokens"),
            ("" if self.seconds is None else f"{self.seconds:g} s"),
        )
        return ", ".join(filter(None, named)) or "no limit"


class Budget(Limits):
    """What a run may take in all: `Budget(usd=5)`, `Budget(lm_calls=2_000, seconds=3_600)`.

        budget = Budget(usd=5, on_limit="finish")
        print(budget)

    Attributes:
        usd: US dollars. The prices of all models must be known.
        lm_calls: Calls that a provider answers; those from the cache are free.
        tokens: Tokens sent and received.
        seconds: Time, while the run is neither paused nor parked.
        on_limit: What happens when something is used up: "park" waits for a larger budget, "finish" ends with the best
            found so far.

    Raises:
        ConfigurationError: If nothing is limited, or a limit is not positive.
        UnknownNameError: If there is no such limit.
    """

    usd: float | None = Field(default=None, gt=0)
    lm_calls: int | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)
    seconds: float | None = Field(default=None, gt=0)
    on_limit: Literal["park", "finish"] = "park"

    def __init__(self, **limits: Any) -> None:
        # A misspelt limit limits nothing.
        if unknown := limits.keys() - {*_LIMITS, "on_limit"}:
            raise UnknownNameError("limit", min(unknown), sorted(_LIMITS))
        try:
            super().__init__(**limits)
        except ValidationError as error:
            where, what = first_problem(error)
            raise ConfigurationError(f"Budget({where}=…): {what}") from None

    @property
    def limits(self) -> Limits:
        """The limits alone."""
        return Limits(**self.model_dump(exclude={"on_limit"}))

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.usd is self.lm_calls is self.tokens is self.seconds is None:
            raise ConfigurationError("a Budget limits something: give usd, lm_calls, tokens or seconds")
        return self


def tokens_of(usage: Usage) -> int:
    """Tokens sent and received."""
    return usage.prompt_tokens + usage.completion_tokens
