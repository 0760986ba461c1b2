"""Programs written down: how their structure is rebuilt, and the files they are saved in."""

from dspex_core.programs._file import (
    FORMAT_VERSION,
    DeclaredProgram,
    ImportedProgram,
    ProgramFile,
    ProgramReference,
    read_program,
    write_program,
)

__all__ = [
    "FORMAT_VERSION",
    "DeclaredProgram",
    "ImportedProgram",
    "ProgramFile",
    "ProgramReference",
    "read_program",
    "write_program",
]
