"""Parquet files, through pyarrow if it is there."""

import importlib
from pathlib import Path
from typing import Any, cast

from dspex_core.errors import ConfigurationError, DatasetError


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Read every row group of one file; the folder's name adds no columns, unlike in pyarrow's dataset readers."""
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigurationError(
            f"{path}: reading .parquet needs pyarrow; run: pip install 'dspex[parquet]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"{path}: not a readable parquet file: {reason}") from error
    names = cast("list[str]", table.column_names)
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DatasetError(f"{path}: the file has column {repeated!r} more than once; rename one of them")
    return cast("list[dict[str, Any]]", table.to_pylist())
