import json
from pathlib import Path
from typing import Literal, get_args

from dspex_core.errors import UnknownNameError
from dspex_core.programs._disk import is_dspy_state, read_object, write_whole
from dspex_core.programs._dspy_state import Anatomy, state_from_dspy, state_to_dspy
from dspex_core.programs._file import StateFile, read_versioned
from dspex_core.seam import ProgramState

StateFormat = Literal["dspex", "dspy"]
"""Our own versioned JSON, or DSPy's."""


def save_state(path: str | Path, state: ProgramState, anatomy: Anatomy, *, form: StateFormat) -> None:
    """Write a state file, in one step.

    Raises:
        ProgramError: If it cannot be written there, or something in the state has no place in DSPy's file.
        UnknownNameError: If there is no such format.
    """
    _check_format(form)
    if form == "dspex":
        text = StateFile(state=state).model_dump_json(indent=2)
    else:
        text = json.dumps(state_to_dspy(state, anatomy), indent=2, ensure_ascii=False)
    write_whole(path, text + "\n", what="state")


def load_state(path: str | Path, anatomy: Anatomy, *, form: StateFormat) -> ProgramState:
    """Read a state file.

    Raises:
        ProgramError: If there is none, it is not of this version, or, if DSPy's, is of another program or holds
            something that has no equivalent.
        UnknownNameError: If there is no such format.
    """
    _check_format(form)
    data = read_object(path, what="state")
    if form == "dspy":
        return state_from_dspy(data, anatomy, path=path)
    hint = ""
    if "dspex_program" in data:
        hint = ": it holds a whole program, which Module.load(path) reads"
    elif is_dspy_state(data):
        hint = ": DSPy saved it, and load_state(path, format='dspy') reads it"
    return read_versioned(path, data, StateFile, hint=hint).state


def _check_format(form: str) -> None:
    if form not in get_args(StateFormat):
        raise UnknownNameError("format", form, get_args(StateFormat))
