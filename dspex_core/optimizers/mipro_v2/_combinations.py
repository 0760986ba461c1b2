from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dspex_core.seam import PredictorState, ProgramState

Choices = dict[str, int]


@dataclass(frozen=True)
class Combinations:
    """What is searched: for each predictor one of its instructions and, unless demos stay as they are, a set of demos.

    Attributes:
        student: The program as it was given.
        instructions: By predictor; the first is the one it has.
        demo_sets: States whose demos may be taken; none in zero-shot mode.
    """

    student: ProgramState
    instructions: Mapping[str, Sequence[str]]
    demo_sets: Sequence[ProgramState]

    @property
    def sizes(self) -> Choices:
        """How many choices each dimension has."""
        sizes: Choices = {}
        for name, instructions in self.instructions.items():
            sizes[_instruction_of(name)] = len(instructions)
            if self.demo_sets:
                sizes[_demos_of(name)] = len(self.demo_sets)
        return sizes

    @property
    def default(self) -> Choices:
        """The combination that stands for the program as it was given."""
        return dict.fromkeys(self.sizes, 0)

    def state(self, choices: Choices) -> ProgramState:
        """The student in a combination."""
        return ProgramState(
            predictors={name: self._predictor(name, given, choices) for name, given in self.student.predictors.items()}
        )

    def label(self, choices: Choices) -> str:
        """A combination in words."""
        parts = [self._told(name, choices) for name in self.instructions]
        if len(parts) == 1:
            return parts[0]
        return "; ".join(f"{name}: {part}" for name, part in zip(self.instructions, parts, strict=True))

    def _predictor(self, name: str, given: PredictorState, choices: Choices) -> PredictorState:
        update: dict[str, object] = {"instructions": self.instructions[name][choices[_instruction_of(name)]]}
        if self.demo_sets:
            update["demos"] = self.demo_sets[choices[_demos_of(name)]].predictors[name].demos
        return given.model_copy(update=update)

    def _told(self, name: str, choices: Choices) -> str:
        demos = f", demo set {choices[_demos_of(name)]}" if self.demo_sets else ""
        return f"instruction {choices[_instruction_of(name)]}{demos}"


def _instruction_of(predictor: str) -> str:
    return f"{predictor}.instruction"


def _demos_of(predictor: str) -> str:
    return f"{predictor}.demos"
