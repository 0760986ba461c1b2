"""How optimizers put rows and instructions into words for a model, and read its words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dspex_core.seam import ProgramState

LONGEST_VALUE = 2_000
"""Characters of a field's value that a model is shown."""


def rows_in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON, one a line; very long values are cut."""
    return "\n".join(json.dumps({name: _cut(value) for name, value in row.items()}, ensure_ascii=False) for row in rows)


def program_in_words(state: ProgramState) -> str:
    """The steps of a program, and the instruction of each."""
    return "\n\n".join(f"{name}: {predictor.instructions}" for name, predictor in state.predictors.items())


def plain_text(said: str) -> str:
    """What a model said, without the quotation marks that it may have put around it."""
    return said.strip().strip('"').strip()


def with_instructions(state: ProgramState, instructions: Mapping[str, str]) -> ProgramState:
    """The same state with other instructions for the predictors named."""
    return ProgramState(
        predictors={
            name: predictor.model_copy(update={"instructions": instructions[name]})
            if name in instructions
            else predictor
            for name, predictor in state.predictors.items()
        }
    )


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return value if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} …"
