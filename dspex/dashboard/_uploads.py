import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from dspex_core.datasets import read_rows
from dspex_core.errors import DatasetError

KINDS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
ADDRESS = "/uploads"
_FILES_KEPT = 8
_NAME_KEPT = 80


class Uploads:
    """Data files from browsers, for as long as the dashboard runs; the latest few of them.

    A browser names a file by what it was told when it sent it, and never by a path.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="dspex-uploads-")
        self._files: OrderedDict[str, tuple[Path, str]] = OrderedDict()

    async def keep(self, name: str, content: bytes) -> str:
        """Keep a file.

        Args:
            name: What it is called; only its ending matters.
            content: What is in it.

        Returns:
            What to ask for it by.

        Raises:
            DatasetError: If it is of no known kind.
        """
        kind = Path(name).suffix.lower()
        if kind not in KINDS:
            raise DatasetError(f"a data file ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        key = secrets.token_urlsafe(16)
        path = Path(self._folder.name) / f"{key}{kind}"
        await asyncio.to_thread(path.write_bytes, content)
        self._files[key] = path, name[-_NAME_KEPT:]
        while len(self._files) > _FILES_KEPT:
            await asyncio.to_thread(self._files.popitem(last=False)[1][0].unlink)
        return key

    async def rows(self, key: str) -> tuple[str, list[dict[str, Any]]]:
        """What a file is called, and its rows.

        Raises:
            DatasetError: If it is not there any more, or cannot be read.
        """
        if key not in self._files:
            raise DatasetError("the file is not there any more: choose it again")
        path, name = self._files[key]
        try:
            return name, await asyncio.to_thread(read_rows, path)
        except DatasetError as error:
            raise DatasetError(str(error).replace(str(path), name)) from None

    def close(self) -> None:
        """Delete all of them."""
        self._folder.cleanup()


class FileField(Element, component="file_field.js"):
    """A field for a data file.

    Args:
        label: Its name.
        on_sent: Called with what to ask for the file by.
    """

    def __init__(self, label: str, on_sent: Callable[[str], Any]) -> None:
        super().__init__()
        self.props["label"] = label
        self.props["accept"] = ",".join(KINDS)
        self.props["address"] = ADDRESS

        async def sent(event: GenericEventArguments) -> None:
            if isinstance(event.args, str):
                await on_sent(event.args)

        self.on("sent", sent)
