"""Programs written down: how their structure is rebuilt, the files they are saved in, and DSPy's."""

from dspex_core.programs._disk import write_whole
from dspex_core.programs._dspy_lm import lm_from_dspy, lm_to_dspy
from dspex_core.programs._dspy_state import Anatomy
from dspex_core.programs._file import (
    FORMAT_VERSION,
    DeclaredProgram,
    ImportedProgram,
    ProgramFile,
    ProgramReference,
    read_program,
    write_program,
)
from dspex_core.programs._state_file import StateFormat, load_state, save_state

__all__ = [
    "FORMAT_VERSION",
    "Anatomy",
    "DeclaredProgram",
    "ImportedProgram",
    "ProgramFile",
    "ProgramReference",
    "StateFormat",
    "lm_from_dspy",
    "lm_to_dspy",
    "load_state",
    "read_program",
    "save_state",
    "write_program",
    "write_whole",
]
