from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dspex_core.errors import ConfigurationError
from dspex_core.invalid import first_problem
from dspex_core.modules import EnsembledProgram, Module, as_program
from dspex_core.optimizers._result import CompileResult
from dspex_core.usage import Usage


class Ensemble(BaseModel):
    """Makes one program of several, which runs them side by side and lets them vote.

        optimizer = BootstrapFewShotWithRandomSearch(metric="exact_match", num_candidate_programs=4)
        found = await optimizer.compile(triage, trainset=trainset, valset=valset)
        best = sorted(found.candidates, key=lambda candidate: candidate.score, reverse=True)[:3]
        voting = await Ensemble().compile([triage.with_state(candidate.state) for candidate in best])

    It asks no model and scores nothing. Its program is saved, loaded, evaluated and run durably as any other.

    Attributes:
        reduce_fn: Makes one prediction of a list of them: a function, "majority", or 'package.module:function'; None
            takes `majority`.
        size: Programs drawn for each call; None runs all.
        deterministic: Whether equal inputs always draw the same programs; see `EnsembledProgram`.

    Raises:
        ConfigurationError: If there is no such option, or a value does not fit.

    Source: DSPy's optimizer of that name; voting as in Wang et al. 2023, "Self-Consistency Improves Chain of Thought
    Reasoning in Language Models", section 2. Differently from DSPy, programs vote by majority if nothing else is asked
    for, and `deterministic` is there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    reduce_fn: Any = None
    size: int | None = Field(default=None, ge=1)
    deterministic: bool = False

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            where, what = first_problem(error)
            raise ConfigurationError(f"Ensemble option {where!r}: {what}") from None

    async def compile(self, programs: Sequence[Module | CompileResult[Any]]) -> CompileResult[EnsembledProgram]:
        """Put programs together.

        Args:
            programs: Programs that take the same inputs, or results of other optimizers, whose programs are taken.

        Returns:
            A result with the ensemble as its program, unscored.

        Raises:
            InputError: If there is no program, fewer than `size`, or `reduce_fn` is no function.
        """
        members = [given.program if isinstance(given, CompileResult) else as_program(given) for given in programs]
        ensemble = EnsembledProgram(members, reduce_fn=self.reduce_fn, size=self.size, deterministic=self.deterministic)
        return CompileResult(program=ensemble, score=None, baseline_score=None, candidates=(), usage=Usage())
