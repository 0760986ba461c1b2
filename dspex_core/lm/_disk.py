import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import diskcache

SIZE_LIMIT_BYTES = 8 * 1024**3

# Threads of their own: an answer that waited behind a user's slow metric would be lost with its process.
_writers = ThreadPoolExecutor(4, thread_name_prefix="dspex-disk")
_log = logging.getLogger(__name__)
_ERRORS = (OSError, sqlite3.Error, diskcache.Timeout, ValueError)


class DiskStore:
    """Values on disk by key, shared by all processes of this machine. One that fails holds nothing: it warns.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store: diskcache.Cache | None = None
        try:
            # Reads then write nothing, so that they never wait for another process.
            self._store = diskcache.Cache(
                str(folder), size_limit=SIZE_LIMIT_BYTES, eviction_policy="least-recently-stored"
            )
        except _ERRORS as error:
            self.warn(error)

    def __len__(self) -> int:
        return 0 if self._store is None else len(self._store)

    def get(self, key: str) -> object:
        """The value kept under a key, or None."""
        if self._store is None:
            return None
        try:
            return self._store.get(key)
        except _ERRORS as error:
            self.warn(error)
            return None

    async def put(self, values: Mapping[str, str | bytes]) -> None:
        """Keep values. They are on disk when this returns."""
        if self._store is not None:
            await asyncio.get_running_loop().run_in_executor(_writers, self._set, self._store, values)

    def warn(self, error: Exception) -> None:
        """Log that something kept here cannot be used."""
        _log.warning("the answer cache in %s cannot be used (%s): going on without it", self._folder, error)

    def _set(self, store: diskcache.Cache, values: Mapping[str, str | bytes]) -> None:
        try:
            for key, value in values.items():
                store.set(key, value)
        except _ERRORS as error:
            self.warn(error)
