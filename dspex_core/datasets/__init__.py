"""Data files in, rows out: a row is a dict of column names to values."""

from dspex_core.datasets._columns import label_values, require_columns
from dspex_core.datasets._data_file import DataFile
from dspex_core.datasets._read_rows import read_rows
from dspex_core.datasets._split import hold_out

__all__ = ["DataFile", "hold_out", "label_values", "read_rows", "require_columns"]
