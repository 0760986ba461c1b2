from collections.abc import Callable
from typing import Any

import pydantic

from dspex_core.errors import ProgramError
from dspex_core.invalid import first_problem
from dspex_core.modules._module import Module, checked_module
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.seam import ProgramState, current_runtime

SUPERVISED = "supervised"


class Supervised(Module):
    """A part of a program that stands for itself: where it fails, it alone is begun anew.

        program = Supervised(Predict("text -> topic"), tries=3) | Predict("text, topic -> reply")
        prediction = await program(text="I was charged twice")

    In a durable run the part is a child workflow, which Temporal restarts and its Web UI shows as such. Each new try
    asks models for fresh samples. Inputs and outputs of the part cross to it as JSON there.

    Args:
        module: The part; in a durable run it may also be a class of your own.
        tries: How often it may be begun in all.

    A part is begun anew after whatever may end otherwise the next time, such as an answer that cannot be read or an
    exception in code of yours; not where what was given is wrong, or a model cannot be reached, which has tries of its
    own.

    Raises:
        ProgramError: If `module` is no module, or `tries` is below 1.
    """

    def __init__(self, module: Module, tries: int = 3) -> None:
        if tries < 1:
            raise ProgramError(f"Supervised: tries={tries}; at least one is needed")
        self.module = checked_module(module, where="Supervised")
        self.tries = tries

    async def forward(self, **inputs: Any) -> Prediction:
        """Run the part, and again if it fails."""
        return await current_runtime().run_part(self.module, inputs, tries=self.tries)

    def calls_of_parts(self) -> dict[str, tuple[int, int]]:
        """A try or more, up to `tries`."""
        return {"module": (1, self.tries)}

    def input_names(self) -> dict[str, bool] | None:
        """What the part takes."""
        return self.module.input_names()

    def output_names(self) -> set[str]:
        """What the part gives."""
        return self.module.output_names()

    def reference(self) -> ProgramReference:
        """The part, and what it takes and gives, written out; for a subclass, where it is imported from."""
        if type(self) is not Supervised:
            return super().reference()
        options = _Options(tries=self.tries, takes=self.input_names(), gives=sorted(self.output_names()))
        return DeclaredProgram(module=SUPERVISED, options=options.model_dump(), parts=(self.module.reference(),))

    @classmethod
    def from_declaration(
        cls, declared: DeclaredProgram, build: Callable[[ProgramReference], Module] | None
    ) -> "Supervised":
        """The module that `reference` wrote out.

        Args:
            declared: What was written.
            build: Builds the part; None leaves it to the process that runs it.

        Raises:
            ProgramError: If the declaration lacks something.
        """
        try:
            options = _Options.model_validate(declared.options)
        except pydantic.ValidationError as error:
            where, what = first_problem(error)
            raise ProgramError(f"a supervised part cannot be made: option {where!r}: {what}") from None
        if len(declared.parts) != 1:
            raise ProgramError(f"a supervised part is declared with {len(declared.parts)} parts; it runs one module")
        [part] = declared.parts
        return cls(PartElsewhere(part, options.takes, options.gives) if build is None else build(part), options.tries)


class PartElsewhere(Module):
    """A part as a workflow knows it, which has another workflow run it: its reference and its state, and no code.

    Args:
        structure: How the part is built.
        takes: Its inputs, each with whether it must be given; None if it takes any.
        gives: Its outputs, as far as they are known.
    """

    def __init__(self, structure: ProgramReference, takes: dict[str, bool] | None, gives: list[str]) -> None:
        self._structure = structure
        self._takes = takes
        self._gives = gives
        self.own_state = ProgramState(predictors={})

    def input_names(self) -> dict[str, bool] | None:
        """What it takes."""
        return self._takes

    def output_names(self) -> set[str]:
        """What it gives."""
        return set(self._gives)

    def reference(self) -> ProgramReference:
        """How it is built."""
        return self._structure

    def get_state(self) -> ProgramState:
        """Its state, with names as in the part alone."""
        return self.own_state


class _Options(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    tries: int = pydantic.Field(default=3, ge=1)
    takes: dict[str, bool] | None = None
    gives: list[str] = []
