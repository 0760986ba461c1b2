import asyncio
import random
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dspex_core.errors import AdapterParseError
from dspex_core.optimizers._result import P
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._side_by_side import all_of, both
from dspex_core.optimizers._words import plain_text, program_in_words, rows_in_words
from dspex_core.optimizers.mipro_v2._prompts import (
    TIPS,
    DescribeProgram,
    ProposeInstruction,
    asking,
)
from dspex_core.seam import LMConfig, ProgramState

EXAMPLES_SHOWN = 3
"""Demos of a step that its instruction is proposed from."""

DemoSets = Sequence[asyncio.Task[ProgramState]]
"""Sets of demos that are being made."""


@dataclass(frozen=True)
class Proposer:
    """What instructions are proposed from, and by whom.

    Attributes:
        prompt_model: The model that proposes; None for the one in force.
        seed: Decides which rows and tips a proposal gets.
        temperature: Temperature of a proposal.
        batch_size: Training rows that a proposal shows.
        program_aware: Whether the whole program is described.
        data_aware: Whether the data are.
        tip_aware: Whether each proposal gets a tip drawn for it.
        fewshot_aware: Whether demos of the step are shown.
    """

    prompt_model: LMConfig | None
    seed: int
    temperature: float
    batch_size: int
    program_aware: bool
    data_aware: bool
    tip_aware: bool
    fewshot_aware: bool

    async def propose(
        self, search: Search[P], demo_sets: DemoSets, *, data_summary: Awaitable[str], count: int
    ) -> dict[str, tuple[str, ...]]:
        """Instructions for every predictor: the one it has, and proposals that differ from it and from each other.

        Source: Opsahl-Ong et al. 2024, "Optimizing Instructions and Demonstrations for Multi-Stage Language Model
        Programs", section 3.2 ("grounding"). Beyond it, a proposal sees rows of the data as they are, each another
        sample.
        """
        state = search.student.get_state()
        program, summary = await both(self._described(search, demo_sets), data_summary)
        about = {"data_summary": summary, **_if_any(program)}
        search.phase("proposing instructions")
        found = await all_of(
            self._proposal(search, demo_sets, name, number, about=about)
            for name in state.predictors
            for number in range(1, count)
        )
        proposed = iter(found)
        return {
            name: tuple(dict.fromkeys([predictor.instructions, *filter(None, islice(proposed, count - 1))]))
            for name, predictor in state.predictors.items()
        }

    async def _described(self, search: Search[P], demo_sets: DemoSets) -> str:
        if not self.program_aware:
            return ""
        state = search.student.get_state()
        runs = {name: await _demos(demo_sets, name, first=1, count=1) for name in state.predictors}
        sample = "\n".join(f"{name}: {rows_in_words(run)}" for name, run in runs.items() if run)
        inputs = {"program": program_in_words(state), "sample_run": sample or "none is at hand"}
        try:
            answer = await search.ask(asking(DescribeProgram, inputs), inputs, lm=self.prompt_model)
        except AdapterParseError:
            return ""  # the proposals go without it
        return str(answer.description)

    async def _proposal(
        self, search: Search[P], demo_sets: DemoSets, name: str, number: int, *, about: dict[str, str]
    ) -> str:
        """One proposal for one predictor; empty if the answer could not be read."""
        rng = random.Random(f"{self.seed}/{name}/{number}")  # noqa: S311 - repeatable by design
        inputs = {what: text for what, text in about.items() if text}
        inputs["step"] = name
        inputs["present_instruction"] = search.student.get_state().predictors[name].instructions
        if self.data_aware:
            rows = range(len(search.trainset))
            drawn = sorted(rng.sample(rows, min(self.batch_size, len(rows))))
            inputs["data_rows"] = rows_in_words(await search.labeled_demos(drawn))
        if self.fewshot_aware and (examples := await _demos(demo_sets, name, first=number, count=EXAMPLES_SHOWN)):
            inputs["step_examples"] = rows_in_words(examples)
        if self.tip_aware and (tip := rng.choice(TIPS)):
            inputs["tip"] = tip
        try:
            answer = await search.ask(
                asking(ProposeInstruction, inputs),
                inputs,
                lm=self.prompt_model,
                rollout=number,
                temperature=self.temperature,
            )
        except AdapterParseError:
            return ""
        return plain_text(str(answer.proposed_instruction))


async def _demos(demo_sets: DemoSets, name: str, *, first: int, count: int) -> list[dict[str, Any]]:
    """The first few demos of a step, from the set of that number and those after it; sets not looked at may be late."""
    start = first % max(1, len(demo_sets))
    found: list[dict[str, Any]] = []
    for made in (*demo_sets[start:], *demo_sets[:start]):
        if len(found) < count:
            found += (dict(demo) for demo in (await made).predictors[name].demos)
    return found[:count]


def _if_any(description: str) -> dict[str, str]:
    return {"program_description": description} if description else {}
