import json
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dspex_core.errors import ProgramError
from dspex_core.references import CodeReference
from dspex_core.seam import ProgramState
from dspex_core.signature import SignatureSpec

FORMAT_VERSION = 1
"""Version of the file format written; a file of another version is refused, never guessed at."""


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


def write_program(path: str | Path, program: ProgramFile) -> None:
    """Write a program file; an existing one is replaced in one step, so a reader never sees half of it.

    Raises:
        ProgramError: If it cannot be written there.
    """
    target = Path(path)
    draft = target.with_name(target.name + ".part")
    try:
        draft.write_text(program.model_dump_json(indent=2) + "\n", encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        raise ProgramError(f"cannot write the program to {target}: {error.strerror}") from None


def read_program(path: str | Path) -> ProgramFile:
    """Read a program file.

    Raises:
        ProgramError: If there is none, or it is not a program file of this version.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ProgramError(f"cannot read the program file {path}: {reason}") from None
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ProgramError(f"{path} is not a program file: {error}") from None
    version = cast("dict[str, Any]", data).get("dspex_program") if isinstance(data, dict) else None
    if version is None:
        raise ProgramError(f"{path} is not a DSPEx program file: it has no 'dspex_program' entry")
    if version != FORMAT_VERSION:
        raise ProgramError(
            f"{path} has program format {version!r}; this DSPEx reads format {FORMAT_VERSION}: "
            "save it again with this version, or install the version that wrote it"
        )
    try:
        return ProgramFile.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProgramError(f"{path} is not a program file: {where}: {first['msg']}") from None
