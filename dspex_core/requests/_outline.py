from typing import Self

from pydantic import BaseModel, ConfigDict

from dspex_core.modules import Module
from dspex_core.programs import ProgramReference
from dspex_core.seam import ProgramState, current_adapter


class ProgramOutline(BaseModel):
    """A program written down: a reference to its structure, and its state. An optimizer takes it for the program.

    Attributes:
        structure: How a worker rebuilds the program.
        state: Instructions and demos of every predictor.
    """

    model_config = ConfigDict(frozen=True)

    structure: ProgramReference
    state: ProgramState

    @classmethod
    def of(cls, program: Module) -> "ProgramOutline":
        """A program's outline; predictors without an adapter of their own get the one in force.

        Raises:
            ProgramError: If no other process could rebuild it.
        """
        return cls(structure=program.reference(), state=program.get_state().with_adapter(current_adapter()))

    def get_state(self) -> ProgramState:
        """The state."""
        return self.state

    def with_state(self, state: ProgramState) -> Self:
        """The same structure in another state."""
        return self.model_copy(update={"state": state})
