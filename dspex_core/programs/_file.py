from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dspex_core.errors import ProgramError
from dspex_core.invalid import first_problem
from dspex_core.programs._disk import is_dspy_state, read_object, write_whole
from dspex_core.references import CodeReference
from dspex_core.seam import ProgramState
from dspex_core.signature import SignatureSpec

FORMAT_VERSION = 1
"""Version of the file formats written; a file of another version is refused, never guessed at."""


class DeclaredProgram(BaseModel):
    """The structure of a program made of built-in modules: needs no user code to be rebuilt.

    Attributes:
        module: Name of the built-in module.
        signature: What it takes and gives, for a module that has a signature.
        options: Its other arguments, as JSON.
        parts: The programs that it is composed of, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["declared"] = "declared"
    module: str
    signature: SignatureSpec | None = None
    options: dict[str, Any] = {}
    parts: tuple["ProgramReference", ...] = ()


class ImportedProgram(BaseModel):
    """The structure of a program that a user's own module defines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["imported"] = "imported"
    code: CodeReference


ProgramReference = Annotated[DeclaredProgram | ImportedProgram, Field(discriminator="kind")]
"""How a program's structure is rebuilt elsewhere."""

DeclaredProgram.model_rebuild()


class ProgramFile(BaseModel):
    """A saved program: structure and state, as readable JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dspex_program: int = FORMAT_VERSION
    structure: ProgramReference
    state: ProgramState


class StateFile(BaseModel):
    """A saved state, without the program that it is of, as readable JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dspex_state: int = FORMAT_VERSION
    state: ProgramState


_Form = TypeVar("_Form", ProgramFile, StateFile)


def write_program(path: str | Path, program: ProgramFile) -> None:
    """Write a program file; an existing one is replaced in one step, so a reader never sees half of it.

    Raises:
        ProgramError: If it cannot be written there.
    """
    write_whole(path, program.model_dump_json(indent=2) + "\n", what="program")


def read_program(path: str | Path) -> ProgramFile:
    """Read a program file.

    Raises:
        ProgramError: If there is none, or it is not a program file of this version.
    """
    data = read_object(path, what="program")
    hint = ""
    if "dspex_state" in data:
        hint = ": it holds a state alone, which program.load_state(path) reads"
    elif is_dspy_state(data):
        hint = ": it holds a state that DSPy saved, which program.load_state(path, format='dspy') reads"
    return read_versioned(path, data, ProgramFile, hint=hint)


def read_versioned(path: str | Path, data: dict[str, Any], form: type[_Form], *, hint: str) -> _Form:
    """What a file of ours holds, if it is of this version.

    Args:
        path: The file, for errors.
        data: What was read from it.
        form: What it must be.
        hint: For errors, what it is if not that.

    Raises:
        ProgramError: If it is not.
    """
    what, key = ("program", "dspex_program") if form is ProgramFile else ("state", "dspex_state")
    version = data.get(key)
    if version is None:
        raise ProgramError(f"{path} is not a DSPEx {what} file{hint or f': it has no {key!r} entry'}")
    if version != FORMAT_VERSION:
        raise ProgramError(
            f"{path} has {what} format {version!r}; this DSPEx reads format {FORMAT_VERSION}: "
            "save it again with this version, or install the version that wrote it"
        )
    try:
        return form.model_validate(data)
    except ValidationError as error:
        where, wrong = first_problem(error)
        raise ProgramError(f"{path} is not a {what} file: {where}: {wrong}") from None
