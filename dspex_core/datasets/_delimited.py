"""Comma- and tab-separated files with a header."""

import contextlib
import csv
import io
import threading
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from dspex_core.errors import DatasetError

# The largest value that a C long holds on every platform; the csv module's own default is 128 KiB a field.
_FIELD_LIMIT = 2**31 - 1
_RECORDS_AT_ONCE = 200
_field_limit_lock = threading.Lock()


def parse_csv(text: str, path: Path) -> list[dict[str, Any]]:
    """Parse comma-separated values; quoted fields may hold commas, quotes and newlines."""
    return _parse(text, path, delimiter=",")


def parse_tsv(text: str, path: Path) -> list[dict[str, Any]]:
    """Parse tab-separated values, quoted as in a .csv."""
    return _parse(text, path, delimiter="\t")


def _parse(text: str, path: Path, *, delimiter: str) -> list[dict[str, Any]]:
    return list(delimited_rows(io.StringIO(text, newline=""), path, delimiter=delimiter))


def delimited_rows(lines: Iterable[str], path: Path, *, delimiter: str) -> Iterator[dict[str, Any]]:
    """The rows below the header; lines come with their ends, as of a file opened with newline=""."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        with _wide_fields():
            # The limit is the process's, so it is not lifted while whoever reads the rows works on them.
            records = list(islice(_records(reader, path, delimiter), _RECORDS_AT_ONCE))
        if not records:
            return
        for line, cells in records:
            if header is None:
                header = cells
                _check_header(header, path)
                continue
            if len(cells) != len(header):
                raise DatasetError(
                    f"{path}: line {line} has {_counted(len(cells), 'cell')}, the header has {len(header)};"
                    f" put quotes around a value that holds {'a tab' if delimiter == chr(9) else 'a comma'}"
                )
            yield dict(zip(header, cells, strict=True))


def _records(reader: Any, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that are not blank, each with the line it begins on."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DatasetError(f"{path}: line {line} cannot be parsed: {_explain(error, delimiter)}") from error
        blank = not cells or (len(cells) == 1 and cells[0].isspace())
        if not blank:
            yield line, cells


def _explain(error: csv.Error, delimiter: str) -> str:
    if "unexpected end of data" in str(error):
        return "a quote is opened and never closed"
    if "expected after" in str(error):
        separator = "a tab" if delimiter == "\t" else "a comma"
        return f'a closing quote must be followed by {separator}; write a quote inside quotes as ""'
    return str(error)


def _check_header(header: list[str], path: Path) -> None:
    for position, name in enumerate(header, start=1):
        if not name.strip():
            raise DatasetError(f"{path}: column {position} of the header has no name; the first line must name each")
        if header.index(name) != position - 1:
            raise DatasetError(f"{path}: the header names column {name!r} more than once; rename one of them")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


@contextlib.contextmanager
def _wide_fields() -> Generator[None]:
    """Lift the csv module's process-wide limit for a while; the lock keeps two readers from undoing it."""
    with _field_limit_lock:
        before = csv.field_size_limit(_FIELD_LIMIT)
        try:
            yield
        finally:
            csv.field_size_limit(before)
