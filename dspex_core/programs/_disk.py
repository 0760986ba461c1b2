import json
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from dspex_core.errors import ProgramError


def write_whole(path: str | Path, text: str, *, what: str) -> None:
    """Write a file; an existing one is replaced in one step, so a reader never sees half of it. The last writer wins.

    Raises:
        ProgramError: If it cannot be written there.
    """
    target = Path(path)
    # Of a name of its own: somebody else may be writing the same file.
    draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise ProgramError(f"cannot write the {what} to {target}: {error.strerror}") from None


def read_object(path: str | Path, *, what: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ProgramError: If there is no file, or none with a JSON object.
    """
    try:
        data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ProgramError(f"cannot read the {what} file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ProgramError(f"cannot read the {what} file {path}: it is not text") from None
    except (ValueError, RecursionError) as error:
        raise ProgramError(f"{path} is not a {what} file: {error}") from None
    if not isinstance(data, dict):
        raise ProgramError(f"{path} is not a {what} file: it holds no JSON object")
    return cast("dict[str, Any]", data)


def is_dspy_state(data: dict[str, Any]) -> bool:
    """Whether this is what DSPy's `save` wrote."""
    metadata = data.get("metadata")
    return isinstance(metadata, dict) and "dependency_versions" in metadata
