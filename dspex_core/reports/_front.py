import json
from collections.abc import Sequence
from typing import Protocol, TypeVar

from dspex_core.seam import ProgramState


class Sized(Protocol):
    """A candidate, as far as its score and its prompts go."""

    @property
    def score(self) -> float:
        """Percent."""
        ...

    @property
    def state(self) -> ProgramState:
        """Instructions and demos."""
        ...


S = TypeVar("S", bound=Sized)


def prompt_size(state: ProgramState) -> int:
    """Characters of instructions and demos that every call of a program carries: what its calls cost, before inputs."""
    return sum(
        len(predictor.instructions) + sum(len(json.dumps(demo, ensure_ascii=False)) for demo in predictor.demos)
        for predictor in state.predictors.values()
    )


def pareto_front(candidates: Sequence[S]) -> list[S]:
    """Candidates that no other one beats in score without a longer prompt, or in prompt without a lower score.

    The shortest prompt first. Of equals, the earlier one.
    """
    front: list[S] = []
    for candidate in sorted(candidates, key=lambda each: (prompt_size(each.state), -each.score)):
        if not front or candidate.score > front[-1].score:
            front.append(candidate)
    return front
