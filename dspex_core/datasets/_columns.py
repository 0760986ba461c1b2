"""Whether rows have the columns asked for, and which columns are labels."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dspex_core.errors import DatasetError

_Rows = Sequence[dict[str, Any]]


def require_columns(rows: _Rows, columns: Iterable[str], *, path: str | Path) -> None:
    """Check that every row has every column; a value may be null or empty.

    Args:
        rows: Rows as `read_rows` gives them.
        columns: The names that must be there.
        path: The file the rows came from, for the error's text.

    Raises:
        DatasetError: No row has a column (names the nearest one and those there are), or some rows lack it (names the
            first; rows are counted from 0, a header not counted).
    """
    known = list(dict.fromkeys(name for row in rows for name in row))
    for column in columns:
        if column not in known:
            raise DatasetError(f"{path}: no column {column!r}; {_nearest(column, known)}there are {_listed(known)}")
        for number, row in enumerate(rows):
            if column not in row:
                raise DatasetError(
                    f"{path}: row {number} has no column {column!r} (it has {_listed(list(row))});"
                    " add it, or drop the row"
                )


def label_values(rows: _Rows, column: str, *, limit: int = 100, path: str | Path | None = None) -> list[str] | None:
    """List the labels of an output column, if its values are labels at all.

    Args:
        rows: Rows that all have the column (see `require_columns`).
        column: The output column.
        limit: The most distinct values that a label may have.
        path: The file the rows came from, for the error's text.

    Returns:
        The distinct values in sorted order, if all are strings and there are at most `limit`; None if the column is
        free text or of another type.

    Raises:
        DatasetError: A row has no value (null, empty or blank; rows are counted from 0), or all rows have the same.
    """
    prefix = f"{path}: " if path is not None else ""
    values = [row[column] for row in rows]
    for number, value in enumerate(values):
        if value is None or (isinstance(value, str) and not value.strip()):
            kind = "null" if value is None else "empty"
            raise DatasetError(
                f"{prefix}row {number} has no value in output column {column!r} (it is {kind});"
                " fill it in, or drop the row"
            )
    if values and all(value == values[0] for value in values):
        raise DatasetError(
            f"{prefix}every row has {_short(values[0])} in output column {column!r}, so there is nothing to learn;"
            " use a column with at least two values"
        )
    texts = [value for value in values if isinstance(value, str)]
    distinct = set(texts)
    return sorted(distinct) if len(texts) == len(values) and len(distinct) <= limit else None


def _nearest(column: str, known: list[str]) -> str:
    by_folded = {name.strip().lower(): name for name in reversed(known)}
    close = difflib.get_close_matches(column.strip().lower(), list(by_folded), n=1, cutoff=0.5)
    return f"did you mean {by_folded[close[0]]!r}? " if close else ""


def _listed(names: list[str], *, most: int = 20) -> str:
    if not names:
        return "none"
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + rest


def _short(value: Any, *, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else text[:most] + "…"
