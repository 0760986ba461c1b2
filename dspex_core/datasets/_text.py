"""Bytes of a data file to text."""

import codecs
from pathlib import Path

from dspex_core.errors import DatasetError


def decode(data: bytes, path: Path) -> str:
    """Decode UTF-8, dropping a byte order mark; a wrong byte is reported with its line."""
    data = data.removeprefix(codecs.BOM_UTF8)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DatasetError(f"{path}: line 1 is UTF-16, not UTF-8; save the file as UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{path}: line {line} is not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8"
        ) from error
