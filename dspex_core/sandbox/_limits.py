from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dspex_core.errors import ConfigurationError
from dspex_core.invalid import first_problem


class SandboxLimits(BaseModel):
    """How much one cell of code may take.

        sandbox = Sandbox(SandboxLimits(seconds=1, memory_mb=16))

    Attributes:
        seconds: Longest that it may run, not counting its tools.
        memory_mb: Most memory its variables may take, in MiB.
        recursion_depth: Most calls within calls.
        tool_calls: Most calls of tools, and other questions to this side.
        printed_chars: Most characters that it may print before it is ended.
        shown_chars: Most characters of its output that are told; the rest is counted.
        argument_chars: Most characters of a tool's arguments, written as JSON.

    Raises:
        ConfigurationError: If there is no such limit, or a value does not fit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=5.0, gt=0)
    memory_mb: int = Field(default=64, ge=1)
    recursion_depth: int = Field(default=200, ge=10)
    tool_calls: int = Field(default=1000, ge=1)
    printed_chars: int = Field(default=1_000_000, ge=1)
    shown_chars: int = Field(default=10_000, ge=100)
    argument_chars: int = Field(default=100_000, ge=100)

    def __init__(self, **limits: Any) -> None:
        try:
            super().__init__(**limits)
        except ValidationError as error:
            where, what = first_problem(error)
            raise ConfigurationError(f"SandboxLimits({where}=…): {what}") from None
