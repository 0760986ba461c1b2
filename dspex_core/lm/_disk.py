import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import diskcache

from dspex_core.errors import CacheError
from dspex_core.lm._batches import Batches
from dspex_core.lm._store import CacheStats, cache_limit_bytes

_log = logging.getLogger(__name__)
_ERRORS = (OSError, sqlite3.Error, diskcache.Timeout, ValueError)
# What is written on an event loop, and for how long it may wait there for another process.
_LITTLE = 64 * 1024
_PATIENCE_SECONDS = 0.01
_IN_A_THREAD_SECONDS = 1.0
# How long a look waits for a process that keeps others out: the first or the last one that uses the database.
_LOCKED_SECONDS = 10.0
# The limit is looked to each time this share of it has been written: after every value takes as long as the writing.
_UNCHECKED_SHARE = 1 / 256


class DiskStore:
    """Values on disk by key, shared by all processes of this machine.

    One that fails holds nothing and warns; to who looks after it (`add`, `items`, `clear`), it raises CacheError.

    Beyond the limit that DSPEX_CACHE_LIMIT sets, the values kept longest go.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._limit_bytes = cache_limit_bytes()
        self._warned: set[str] = set()
        self._store: diskcache.Cache | None = None
        self._closed_by: Exception | None = None
        self._writing: Batches[Mapping[str, str | bytes], None] = Batches(self._write)
        self._unchecked = 0
        self._in_threads_until = 0.0
        try:
            # With this policy reads write nothing, so that they never wait for another process.
            self._store = diskcache.Cache(
                str(folder),
                timeout=_PATIENCE_SECONDS,
                size_limit=self._limit_bytes,
                eviction_policy="least-recently-stored",
                cull_limit=0,
            )
        except _ERRORS as error:
            self._closed_by = error

    def __len__(self) -> int:
        return self.stats().entries

    def get(self, key: str) -> object:
        """The value kept under a key, or None."""
        try:
            return self._opened().get(key)
        except _ERRORS as error:
            self.warn(error)
            return None

    async def fetch(self, key: str) -> object:
        """The same; a look at the disk takes less time than handing it to a thread.

        Where another process opens or closes the database, it waits: a value not seen would be paid for again.
        """
        until = time.monotonic() + _LOCKED_SECONDS
        while True:
            try:
                return self._opened().get(key)
            except _ERRORS as error:
                if self._store is None or str(error) != "database is locked" or time.monotonic() > until:
                    self.warn(error)
                    break
            await asyncio.sleep(_PATIENCE_SECONDS)
        return None

    async def put(self, values: Mapping[str, str | bytes]) -> None:
        """Keep values. They are on disk when this returns.

        A little is written at once, on the loop: SQLite takes a tenth of a millisecond, and the way to a busy process's
        thread and back ten. A thread takes what is more, what another process holds up, and all while the disk is slow.
        """
        if self._store is not None and not self._put_now(self._store, values):
            await self._writing.do(values)

    def add(self, values: Mapping[str, str]) -> int:
        """Keep values whose keys hold nothing yet; gives how many those were."""
        try:
            store = self._opened()
            with store.transact(retry=True):
                added = sum(store.add(key, value) for key, value in values.items())
            self._keep_to_limit()
        except _ERRORS as error:
            raise CacheError(self._trouble(error)) from None
        return added

    def items(self) -> Iterator[tuple[str, object]]:
        """All that is kept."""
        try:
            store = self._opened()
            for key in store.iterkeys():
                value = store.get(key)
                if value is not None:
                    yield str(key), value
        except _ERRORS as error:
            raise CacheError(self._trouble(error)) from None

    def clear(self) -> int:
        """Forget all; gives how many there were."""
        try:
            return self._opened().clear(retry=True)
        except _ERRORS as error:
            raise CacheError(self._trouble(error)) from None

    def stats(self) -> CacheStats:
        """What it holds."""
        entries, size, trouble = 0, 0, None
        try:
            store = self._opened()
            entries, size = len(store), store.volume()
        except _ERRORS as error:
            trouble = self._trouble(error)
        return CacheStats(
            where=str(self._folder),
            entries=entries,
            size_bytes=size,
            limit_bytes=self._limit_bytes,
            usable=trouble is None,
            trouble=trouble,
        )

    def warn(self, error: Exception) -> None:
        """Log, once for each reason, that something kept here cannot be used."""
        reason = _reason(error)
        if reason not in self._warned:
            self._warned.add(reason)
            _log.warning("the answer cache in %s cannot be used (%s): going on without it", self._folder, reason)

    def _opened(self) -> diskcache.Cache:
        if self._store is None:
            raise self._closed_by or OSError("it was not opened")
        return self._store

    def _trouble(self, error: Exception) -> str:
        return (
            f"the answer cache in {self._folder} cannot be used ({_reason(error)}): see that this folder can be "
            "written to and its disk is not full, or move it away if it is damaged"
        )

    def _put_now(self, store: diskcache.Cache, values: Mapping[str, str | bytes]) -> bool:
        size, began = sum(map(len, values.values())), time.monotonic()
        self._unchecked += size
        if size > _LITTLE or began < self._in_threads_until or self._unchecked > self._limit_bytes * _UNCHECKED_SHARE:
            return False
        try:
            self._set_all(store, [values], retry=False)
        except diskcache.Timeout:
            return False
        except _ERRORS as error:
            self.warn(error)
        finally:
            if (now := time.monotonic()) - began > _PATIENCE_SECONDS:
                self._in_threads_until = now + _IN_A_THREAD_SECONDS
        return True

    def _write(self, batch: list[Mapping[str, str | bytes]]) -> list[None]:
        if self._store is not None:
            try:
                self._set_all(self._store, batch, retry=True)
                self._keep_to_limit()
            except _ERRORS as error:
                self.warn(error)
        return [None] * len(batch)

    def _set_all(self, store: diskcache.Cache, batch: list[Mapping[str, str | bytes]], *, retry: bool) -> None:
        with store.transact(retry=retry):
            for values in batch:
                for key, value in values.items():
                    store.set(key, value)

    def _keep_to_limit(self) -> None:
        self._unchecked = 0
        if self._store is not None and self._store.volume() > self._limit_bytes:
            self._store.cull(retry=True)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
