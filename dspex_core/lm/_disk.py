import logging
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import diskcache

from dspex_core.lm._batches import Batches
from dspex_core.lm._store import CacheStats, cache_limit_bytes

_log = logging.getLogger(__name__)
_ERRORS = (OSError, sqlite3.Error, diskcache.Timeout, ValueError)


class DiskStore:
    """Values on disk by key, shared by all processes of this machine. One that fails holds nothing: it warns.

    Beyond the limit that DSPEX_CACHE_LIMIT sets, the values kept longest go.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._limit_bytes = cache_limit_bytes()
        self._warned: set[str] = set()
        self._store: diskcache.Cache | None = None
        self._writing: Batches[Mapping[str, str | bytes], None] = Batches(self._write)
        try:
            # With this policy reads write nothing, so that they never wait for another process. The limit is looked to
            # after every batch: after every value, that takes as long as the writing itself.
            self._store = diskcache.Cache(
                str(folder), size_limit=self._limit_bytes, eviction_policy="least-recently-stored", cull_limit=0
            )
        except _ERRORS as error:
            self.warn(error)

    def __len__(self) -> int:
        return self.stats().entries

    def get(self, key: str) -> object:
        """The value kept under a key, or None."""
        if self._store is None:
            return None
        try:
            return self._store.get(key)
        except _ERRORS as error:
            self.warn(error)
            return None

    async def fetch(self, key: str) -> object:
        """The same; a look at the disk takes less time than handing it to a thread."""
        return self.get(key)

    async def put(self, values: Mapping[str, str | bytes]) -> None:
        """Keep values. They are on disk when this returns. What is put at the same time is written together."""
        if self._store is not None:
            await self._writing.do(values)

    def add(self, values: Mapping[str, str]) -> int:
        """Keep values whose keys hold nothing yet; gives how many those were."""
        if self._store is None:
            return 0
        try:
            with self._store.transact(retry=True):
                added = sum(self._store.add(key, value) for key, value in values.items())
            self._keep_to_limit()
        except _ERRORS as error:
            self.warn(error)
            return 0
        return added

    def items(self) -> Iterator[tuple[str, object]]:
        """All that is kept."""
        if self._store is None:
            return
        try:
            for key in self._store.iterkeys():
                value = self._store.get(key)
                if value is not None:
                    yield str(key), value
        except _ERRORS as error:
            self.warn(error)

    def clear(self) -> int:
        """Forget all; gives how many there were."""
        if self._store is None:
            return 0
        try:
            return self._store.clear(retry=True)
        except _ERRORS as error:
            self.warn(error)
            return 0

    def stats(self) -> CacheStats:
        """What it holds."""
        entries, size, usable = 0, 0, self._store is not None
        if self._store is not None:
            try:
                entries, size = len(self._store), self._store.volume()
            except _ERRORS as error:
                self.warn(error)
                usable = False
        return CacheStats(
            where=str(self._folder), entries=entries, size_bytes=size, limit_bytes=self._limit_bytes, usable=usable
        )

    def warn(self, error: Exception) -> None:
        """Log, once for each reason, that something kept here cannot be used."""
        reason = f"{type(error).__name__}: {error}"[:200]
        if reason not in self._warned:
            self._warned.add(reason)
            _log.warning("the answer cache in %s cannot be used (%s): going on without it", self._folder, reason)

    def _keep_to_limit(self) -> None:
        if self._store is not None and self._store.volume() > self._limit_bytes:
            self._store.cull(retry=True)

    def _write(self, batch: list[Mapping[str, str | bytes]]) -> list[None]:
        if self._store is not None:
            try:
                with self._store.transact(retry=True):
                    for values in batch:
                        for key, value in values.items():
                            self._store.set(key, value)
                self._keep_to_limit()
            except _ERRORS as error:
                self.warn(error)
        return [None] * len(batch)
