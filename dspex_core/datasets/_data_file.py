"""A data file that is read while its rows are used, and never held in memory as a whole."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dspex_core.datasets._delimited import delimited_rows
from dspex_core.datasets._json import jsonl_rows
from dspex_core.datasets._parquet import parquet_rows
from dspex_core.datasets._read_rows import checked_extension, read_rows
from dspex_core.datasets._text import decode
from dspex_core.errors import DatasetError
from dspex_core.record import Example


class DataFile:
    """The rows of a data file as examples, read as they are asked for; iterate over it as often as you like.

        result = await Evaluate(DataFile("tickets.jsonl", inputs=["text"]), "exact_match")(triage)

    .jsonl, .csv, .tsv and .parquet files are read a few rows at a time, so that their length does not matter. A .json
    file is one value and is read at once. What is in the files is as `read_rows` says.

    Args:
        path: The file.
        inputs: The columns that a program is called with; all others are labels.
        columns: The columns to take, inputs included; None takes all.

    Raises:
        DatasetError: The file is missing or of an unknown kind, or no inputs are named; while it is read, whatever
            `read_rows` raises, or a row lacks a column (rows are counted from 0).
        ConfigurationError: While it is read, a .parquet file, and pyarrow is not installed.
    """

    def __init__(self, path: str | Path, *, inputs: Sequence[str], columns: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        self.inputs = tuple(inputs)
        self.columns = None if columns is None else tuple(dict.fromkeys((*inputs, *columns)))
        self._extension = checked_extension(self.path)
        if not self.inputs or isinstance(inputs, str):
            raise DatasetError(f"{path}: name the columns that are inputs, as in DataFile(path, inputs=['text'])")

    def __iter__(self) -> Iterator[Example]:
        empty = True
        for number, row in enumerate(self._rows()):
            empty = False
            wanted = row if self.columns is None else self.columns
            for name in (*self.inputs, *wanted):
                if name not in row:
                    known = ", ".join(map(repr, row)) or "none"
                    raise DatasetError(f"{self.path}: row {number} has no column {name!r}; it has {known}")
            yield Example({name: row[name] for name in wanted}).with_inputs(*self.inputs)
        if empty:
            raise DatasetError(f"{self.path}: the file has no rows; add at least one")

    def __repr__(self) -> str:
        return f"DataFile({str(self.path)!r}, inputs={list(self.inputs)})"

    def _rows(self) -> Iterator[dict[str, Any]]:
        if self._extension == ".json":
            yield from read_rows(self.path)
        elif self._extension == ".parquet":
            yield from parquet_rows(self.path)
        else:
            yield from self._text_rows()

    def _text_rows(self) -> Iterator[dict[str, Any]]:
        lines = self._extension == ".jsonl"
        try:
            with self.path.open(encoding="utf-8-sig", newline="\n" if lines else "") as file:
                if lines:
                    yield from jsonl_rows(file, self.path)
                else:
                    yield from delimited_rows(file, self.path, delimiter="\t" if self._extension == ".tsv" else ",")
        except UnicodeDecodeError:
            decode(self.path.read_bytes(), self.path)  # says in which line
            raise
        except OSError as error:
            raise DatasetError(f"{self.path}: cannot be read: {error.strerror or error}") from error
