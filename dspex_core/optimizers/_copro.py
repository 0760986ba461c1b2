import random
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from dspex_core.errors import AdapterParseError
from dspex_core.modules import Predict
from dspex_core.optimizers._base import LMOption, RacingOptimizer
from dspex_core.optimizers._racing import Racing
from dspex_core.optimizers._result import P, Proposal
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._side_by_side import all_of
from dspex_core.optimizers._words import plain_text, program_in_words, rows_in_words, with_instructions
from dspex_core.seam import Dataset, ProgramState
from dspex_core.signature import InputField, OutputField, Signature

EXAMPLES_SHOWN = 10
"""Training rows that a proposal sees, each proposal others."""


class ImproveInstruction(Signature):
    """Write an instruction for a language model that makes it solve the task better than the present one does.

    The model gets nothing but your instruction and an input like those in the examples. Be bold where the present
    instruction is vague.
    """

    program: str = InputField(desc="every step of the program, with its instruction")
    step: str = InputField(desc="the step that the instruction is for")
    examples: str = InputField(desc="inputs with right answers, one JSON object a line")
    present_instruction: str = InputField(desc="the instruction to improve on")
    new_instruction: str = OutputField(desc="the instruction, and nothing else")


class OutdoAttempts(Signature):
    """Several instructions for a language model were tried. Write one that will score higher than all of them.

    Find out what the high scores have in common and what the low ones lack; do not repeat an attempt.
    """

    program: str = InputField(desc="every step of the program, with its instruction")
    step: str = InputField(desc="the step that the instruction is for")
    examples: str = InputField(desc="inputs with right answers, one JSON object a line")
    attempts: list[str] = InputField(desc="instructions and their scores in percent, the best one last")
    new_instruction: str = OutputField(desc="the instruction, and nothing else")


class COPRO(RacingOptimizer):
    """Has a model write instructions, tries them, and has it write better ones, knowing how the earlier ones did.

        best = await COPRO(metric="exact_match", breadth=6).compile(triage, trainset=trainset, valset=valset)

    Predictors take turns: each gets its best instruction before the next one's are tried. Demos stay as they are.

    Attributes:
        prompt_model: The model that writes instructions; None for the one in force.
        breadth: Instructions tried in each round, for each predictor; in the first, the present one is among them.
        depth: Rounds.
        init_temperature: Temperature at which instructions are written.
        track_stats: Has no effect: the result has the score of every instruction tried. Taken because DSPy's has it.

    Source: Khattab et al. 2024, "DSPy: Compiling Declarative Language Model Calls into State-of-the-Art Pipelines", and
    DSPy 3's optimizer of that name, after Yang et al. 2023, "Large Language Models as Optimizers", section 3.
    Differently from DSPy, who writes sees training rows and the whole program, and there are no prefixes of output
    fields. Without a validation set, the training rows score.
    """

    name: ClassVar[str] = "copro"

    prompt_model: LMOption = None
    breadth: int = Field(default=10, ge=2)
    depth: int = Field(default=3, ge=1)
    init_temperature: float = Field(default=1.4, ge=0)
    track_stats: bool = False

    def divided(self, trainset: Dataset, valset: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """Without a validation set, the training rows."""
        return trainset, trainset if valset is None else valset

    async def search(self, search: Search[P]) -> ProgramState:
        """Round after round, write instructions and keep each predictor's best."""
        ascent = _Ascent(search.student.get_state())
        for depth in range(self.depth):
            search.phase("writing instructions", detail=f"round {depth + 1} of {self.depth}")
            latest = await self._written(search, ascent, depth)
            for name in ascent.state.predictors:
                await ascent.climb(search, name, latest[name], depth, racing=self.race)
        return ascent.state

    async def _written(self, search: Search[P], ascent: "_Ascent", depth: int) -> dict[str, list[str]]:
        """The round's instructions for every predictor, all written side by side."""
        names = list(ascent.state.predictors)
        count = self.breadth - 1 if depth == 0 else self.breadth
        rollouts = range(depth * self.breadth + 1, depth * self.breadth + 1 + count)
        orders = [(name, rollout) for name in names for rollout in rollouts]
        texts = await all_of(self._instruction(search, ascent, *order) for order in orders)
        written: dict[str, list[str]] = {name: [] for name in names}
        for (name, _), text in zip(orders, texts, strict=True):
            written[name].append(text)
        if depth == 0:
            for name in names:
                written[name].append(ascent.state.predictors[name].instructions)
        return {name: list(dict.fromkeys(filter(None, texts))) for name, texts in written.items()}

    async def _instruction(self, search: Search[P], ascent: "_Ascent", name: str, rollout: int) -> str:
        """One instruction; empty if the answer could not be read."""
        inputs = {
            "program": program_in_words(ascent.state),
            "step": name,
            "examples": rows_in_words(await search.labeled_demos(self._drawn(len(search.trainset), name, rollout))),
        }
        tried = ascent.tried[name]
        asking, known = (OutdoAttempts, {"attempts": self._attempts(tried)}) if tried else (ImproveInstruction, {})
        if not tried:
            inputs["present_instruction"] = ascent.state.predictors[name].instructions
        try:
            answer = await search.ask(
                Predict(asking),
                {**inputs, **known},
                lm=self.prompt_model,
                rollout=rollout,
                temperature=self.init_temperature,
            )
        except AdapterParseError:
            return ""
        return plain_text(answer.new_instruction)

    def _attempts(self, tried: Mapping[str, float]) -> list[str]:
        best = sorted(tried.items(), key=lambda attempt: attempt[1], reverse=True)[: self.breadth]
        return [f"{score:.2f}: {instruction}" for instruction, score in reversed(best)]

    def _drawn(self, size: int, name: str, rollout: int) -> list[int]:
        rng = random.Random(f"{self.seed}/{name}/{rollout}")  # noqa: S311 - repeatable by design
        return sorted(rng.sample(range(size), min(EXAMPLES_SHOWN, size)))


class _Ascent:
    """Coordinate ascent over instructions: where it stands, and what was tried of every predictor."""

    def __init__(self, state: ProgramState) -> None:
        self.state = state
        self.parent = 0
        self.tried: dict[str, dict[str, float]] = {name: {} for name in state.predictors}
        self.scored: dict[str, dict[str, float]] = {name: {} for name in state.predictors}

    async def climb(
        self, search: Search[P], name: str, latest: list[str], depth: int, *, racing: Racing | None
    ) -> None:
        """Try a predictor's instructions side by side, and put its best one in force."""
        tried = self.tried[name]
        # Beside other predictors' new instructions, what was tried before may now do otherwise.
        instructions = latest if len(self.tried) == 1 else list(dict.fromkeys([*tried, *latest]))
        proposals = [
            Proposal(
                with_instructions(self.state, {name: instruction}),
                f"round {depth + 1}: instruction {number} of {name}",
                parent=self.parent,
            )
            for number, instruction in enumerate(instructions, start=1)
        ]
        candidates = await search.evaluate_all(proposals, phase="trying instructions", detail=name, racing=racing)
        for instruction, candidate in zip(instructions, candidates, strict=True):
            tried[instruction] = max(candidate.likely_score, tried.get(instruction, 0.0))
            if candidate.rows is None:
                self.scored[name][instruction] = tried[instruction]
        scored = self.scored[name]
        best = max(scored, key=scored.__getitem__)
        if best in instructions:
            self.parent = candidates[instructions.index(best)].index
        self.state = with_instructions(self.state, {name: best})
