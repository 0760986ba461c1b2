"""Which reader a file gets, and everything that can be wrong before it is read."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dspex_core.datasets._delimited import parse_csv, parse_tsv
from dspex_core.datasets._json import parse_json, parse_jsonl
from dspex_core.datasets._parquet import read_parquet
from dspex_core.datasets._text import decode
from dspex_core.errors import DatasetError

_TextParser = Callable[[str, Path], list[dict[str, Any]]]

_TEXT_PARSERS: dict[str, _TextParser] = {
    ".jsonl": parse_jsonl,
    ".json": parse_json,
    ".csv": parse_csv,
    ".tsv": parse_tsv,
}
_KNOWN = (*_TEXT_PARSERS, ".parquet")


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read a whole data file into memory, in the file's order.

    Args:
        path: A .jsonl (one object a line), .json (a list of objects), .csv or .tsv (a header line first) or .parquet
            file; the extension decides, in any case. Text is UTF-8, with or without a byte order mark; blank lines are
            skipped.

    Returns:
        One dict a row, at least one. Values of .csv and .tsv are str, "" for an empty cell; those of the other formats
        are whatever the file holds.

    Raises:
        DatasetError: The file is missing, empty, of an unknown kind or malformed. The text is one line and names the
            file and, where there is one, the line in it.
        ConfigurationError: A .parquet file, and pyarrow is not installed.
    """
    path = Path(path)
    extension = checked_extension(path)
    rows = read_parquet(path) if extension == ".parquet" else _read_text(path, _TEXT_PARSERS[extension])
    if not rows:
        raise DatasetError(f"{path}: the file has no rows; add at least one")
    return rows


def checked_extension(path: Path) -> str:
    """The extension of a data file that is there, in lower case.

    Raises:
        DatasetError: It is not there, or of an unknown kind.
    """
    _require_file(path)
    extension = path.suffix.lower()
    if extension not in _KNOWN:
        ending = repr(path.suffix) if path.suffix else "no extension"
        raise DatasetError(f"{path}: cannot read a data file with {ending}; use one of {', '.join(_KNOWN)}")
    return extension


def _read_text(path: Path, parse: _TextParser) -> list[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from error
    text = decode(data, path)
    if not text.strip():
        raise DatasetError(f"{path}: the file is empty; write some rows to it first")
    return parse(text, path)


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise DatasetError(f"{path}: this is a directory; name one data file in it")
    if path.exists():
        return
    siblings = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
    nearest = difflib.get_close_matches(path.name, siblings, n=1)
    hint = f"did you mean {path.parent / nearest[0]}?" if nearest else "check the path"
    raise DatasetError(f"{path}: no such file; {hint}")
