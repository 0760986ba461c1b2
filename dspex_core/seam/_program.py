from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict

from dspex_core.seam._adapter import AdapterConfig
from dspex_core.seam._lm import LMConfig


class PredictorState(BaseModel):
    """What an optimizer may change about one predictor.

    Attributes:
        instructions: The task as told to the model.
        demos: Worked examples shown before the question; each maps field names to JSON values.
        lm: A model of this predictor's own; None for the one in force.
        adapter: An adapter of this predictor's own; None for the one in force.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    instructions: str
    demos: tuple[dict[str, Any], ...] = ()
    lm: LMConfig | None = None
    adapter: AdapterConfig | None = None


class ProgramState(BaseModel):
    """State of a whole program, by predictor name. This is what a candidate is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    predictors: dict[str, PredictorState]

    def with_demos(self, demos: dict[str, tuple[dict[str, Any], ...]]) -> "ProgramState":
        """The same state with other demos for the predictors named."""
        return ProgramState(
            predictors={
                name: predictor.model_copy(update={"demos": demos[name]}) if name in demos else predictor
                for name, predictor in self.predictors.items()
            }
        )

    def with_lm(self, lm: LMConfig) -> "ProgramState":
        """The same state with a model for the predictors that have none."""
        return ProgramState(
            predictors={
                name: predictor if predictor.lm else predictor.model_copy(update={"lm": lm})
                for name, predictor in self.predictors.items()
            }
        )

    def with_adapter(self, adapter: AdapterConfig | None) -> "ProgramState":
        """The same state with an adapter for the predictors that have none."""
        if adapter is None:
            return self
        return ProgramState(
            predictors={
                name: predictor if predictor.adapter else predictor.model_copy(update={"adapter": adapter})
                for name, predictor in self.predictors.items()
            }
        )


class Program(Protocol):
    """What an optimizer needs to know of a program: a state that can be read and replaced."""

    def get_state(self) -> ProgramState:
        """The state in force."""
        ...

    def with_state(self, state: ProgramState) -> Self:
        """The same structure with another state; this program stays as it is."""
        ...
