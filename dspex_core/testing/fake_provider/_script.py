from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from dspex_core.errors import ConfigurationError


class ScriptedCall(BaseModel):
    """A tool to call.

    Attributes:
        name: The tool's name.
        arguments: What to call it with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    arguments: dict[str, Any] = {}


class ScriptRule(BaseModel):
    """What to say to a prompt of some kind.

    Attributes:
        when: Text that the last user message, or what tools answered after it, holds; of several, all of them.
        answer: The answer as text, or output fields by name, which are written in the form that the prompt asks for.
        tool_calls: Tools to call, by the provider's function calling; with or without an answer.
        times: Answers that the rule gives before it is used up; None sets no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: str | tuple[str, ...]
    answer: str | dict[str, Any] | None = None
    tool_calls: tuple[ScriptedCall, ...] = ()
    times: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.answer is None and not self.tool_calls:
            raise ValueError("give an answer, tool_calls or both")
        return self

    def fits(self, message: str) -> bool:
        """Whether the rule is about this message."""
        wanted = (self.when,) if isinstance(self.when, str) else self.when
        return all(text in message for text in wanted)


_RULES = TypeAdapter(tuple[ScriptRule, ...])


class Script:
    """Rules, of which the first that fits and is not used up answers. Belongs to one event loop.

    Args:
        rules: The rules, in their order; as `ScriptRule` or as dicts of its fields.

    Raises:
        ConfigurationError: If they are no rules.
    """

    def __init__(self, rules: Sequence[ScriptRule | dict[str, Any]] = ()) -> None:
        try:
            self.rules = _RULES.validate_python(tuple(rules))
        except ValidationError as error:
            raise ConfigurationError(_complaint(error)) from None
        self._used = [0] * len(self.rules)

    @classmethod
    def read(cls, body: bytes) -> Self:
        """A script from a JSON list of rules.

        Raises:
            ConfigurationError: If it is none.
        """
        try:
            return cls(_RULES.validate_json(body))
        except ValidationError as error:
            raise ConfigurationError(_complaint(error)) from None

    def answer(self, message: str) -> ScriptRule | None:
        """The rule that answers a last user message, which uses it once; None leaves it to the model."""
        for number, rule in enumerate(self.rules):
            if rule.fits(message) and (rule.times is None or self._used[number] < rule.times):
                self._used[number] += 1
                return rule
        return None


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    told = first["msg"].removeprefix("Value error, ")
    return f"the script cannot be used: {where or 'it'}: {told}; it is a list of {{'when': …, 'answer': …}}"
