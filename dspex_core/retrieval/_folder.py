import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from dspex_core.errors import RetrievalError
from dspex_core.seam import Passage

FORMAT_VERSION = 1
_FACTS = "index.json"
_PASSAGES = "passages.jsonl"


def write_index(
    folder: str | Path,
    kind: str,
    *,
    facts: dict[str, Any],
    passages: Sequence[Passage],
    write_rest: Callable[[Path], None],
) -> None:
    """Write an index to a folder; an index that is there already is replaced once the new one is complete.

    Args:
        folder: Where to.
        kind: What reads it again.
        facts: What else it needs to be read, as JSON.
        passages: What it finds.
        write_rest: Adds the files of its own kind to the folder that it is given.

    Raises:
        RetrievalError: If it cannot be written, or the folder holds something else.
    """
    target = Path(folder)
    if target.exists() and not (target / _FACTS).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise RetrievalError(f"{target} holds something else than an index: name another folder")
    draft = target.with_name(target.name + ".part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        head = {"dspex_index": FORMAT_VERSION, "kind": kind, **facts}
        (draft / _FACTS).write_text(json.dumps(head, indent=2) + "\n", encoding="utf-8")
        with (draft / _PASSAGES).open("w", encoding="utf-8") as lines:
            lines.writelines(passage.model_dump_json(exclude={"score"}) + "\n" for passage in passages)
        write_rest(draft)
        if target.exists():
            shutil.rmtree(target)
        draft.replace(target)
    except OSError as error:
        raise RetrievalError(f"cannot write the index to {target}: {error.strerror or error}") from None


def read_index(folder: str | Path, kind: str) -> tuple[dict[str, Any], list[Passage]]:
    """What `write_index` was given: the facts and the passages.

    Raises:
        RetrievalError: If there is no index of that kind and this version.
    """
    source = Path(folder)
    try:
        head = json.loads((source / _FACTS).read_text(encoding="utf-8"))
        facts = cast("dict[str, Any]", head) if isinstance(head, dict) else {}
        if facts.get("dspex_index") != FORMAT_VERSION:
            version = facts.get("dspex_index")
            raise RetrievalError(
                f"{source} has index format {version!r}; this DSPEx reads {FORMAT_VERSION}: build it anew"
            )
        if facts.get("kind") != kind:
            raise RetrievalError(f"{source} holds an index of the kind {facts.get('kind')!r}, not {kind!r}")
        with (source / _PASSAGES).open(encoding="utf-8") as lines:
            return facts, [Passage.model_validate_json(line) for line in lines]
    except OSError as error:
        raise RetrievalError(f"there is no index in {source}: {error.strerror or error}") from None
    except (ValueError, ValidationError) as error:
        raise RetrievalError(f"the index in {source} is damaged: {error}") from None


def damaged(folder: str | Path, error: Exception) -> RetrievalError:
    """The error for an index whose own files cannot be read."""
    return RetrievalError(f"the index in {folder} is damaged: {type(error).__name__}: {error}")
