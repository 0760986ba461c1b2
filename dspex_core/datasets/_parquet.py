"""Parquet files, through pyarrow if it is there."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from dspex_core.errors import ConfigurationError, DatasetError

_ROWS_AT_ONCE = 1_000


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Read every row group of one file; the folder's name adds no columns, unlike in pyarrow's dataset readers."""
    return list(parquet_rows(path))


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The same rows, some at a time."""
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigurationError(
            f"{path}: reading .parquet needs pyarrow; run: pip install 'dspex[parquet]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            names = cast("list[str]", file.schema_arrow.names)
            repeated = next((name for name in names if names.count(name) > 1), None)
            if repeated is not None:
                raise DatasetError(f"{path}: the file has column {repeated!r} more than once; rename one of them")
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                yield from cast("list[dict[str, Any]]", batch.to_pylist())
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"{path}: not a readable parquet file: {reason}") from error
