import contextlib
import sys
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import IO

from dspex.cli._shell import FAILED, say, tell, tell_json
from dspex_core.errors import CacheError, DatasetError
from dspex_core.lm import CacheStats, ResponseCache


def show_stats(*, as_json: bool) -> None:
    """Tell what the cache holds."""
    stats = ResponseCache().stats()
    if as_json:
        tell_json(stats.model_dump())
        if not stats.usable:
            sys.exit(FAILED)
    elif stats.trouble is not None:
        raise CacheError(stats.trouble)
    else:
        tell(describe(stats))


def clear_cache(*, as_json: bool) -> None:
    """Forget all answers."""
    cleared = ResponseCache().clear()
    if as_json:
        tell_json({"cleared": cleared})
    else:
        tell(f"{cleared} answers forgotten")


def export_cache(output: str, *, as_json: bool) -> None:
    """Write all answers to a file; one that is there already stays as it is until they are all written."""
    written = 0
    try:
        with _written_whole(Path(output)) as file:
            for line in ResponseCache().export():
                file.write(line + "\n")
                written += 1
    except OSError as error:
        raise DatasetError(f"cannot write {output}: {error.strerror}") from None
    if as_json:
        tell_json({"exported": written, "file": output})
    else:
        tell(f"{written} answers written to {output}")


def import_cache(source: str, *, as_json: bool) -> None:
    """Take in the answers of a file."""
    cache = ResponseCache()
    try:
        with Path(source).open(encoding="utf-8") as file:
            added = cache.load(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise DatasetError(f"cannot read {source}: {reason}") from None
    except DatasetError as error:
        raise DatasetError(f"{source}, {error}") from None
    if as_json:
        tell_json({"imported": added, "file": source})
    else:
        tell(f"{added} answers taken in; those known already stay")
        say(f"the cache: {describe(cache.stats())}")


def describe(stats: CacheStats) -> str:
    """A cache in one line."""
    if stats.trouble is not None:
        return stats.trouble
    limit = "" if stats.limit_bytes is None else f" of at most {size_text(stats.limit_bytes)}"
    return f"{stats.where}: {stats.entries} answers, {size_text(stats.size_bytes)}{limit}"


def size_text(count: float) -> str:
    """A number of bytes, for a person."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1024:  # noqa: PLR2004 - bytes in a KB, and so on
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


@contextlib.contextmanager
def _written_whole(path: Path) -> Generator[IO[str]]:
    # A pipe or a terminal holds nothing that could be lost, and cannot be replaced.
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as file:
            yield file
        return
    target = path.resolve()
    draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            yield file
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
