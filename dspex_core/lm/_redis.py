import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from dspex_core.errors import CacheError, ConfigurationError
from dspex_core.lm._batches import Batches
from dspex_core.lm._store import CacheStats
from dspex_core.redaction import keep_secret, redacted

_PREFIX = "dspex:answer:"
_PAGE = 500
_TIMEOUT_SECONDS = 2.0
_AWAY_SECONDS, _LONGEST_AWAY_SECONDS = 10.0, 300.0
"""How long a server that failed is left alone: twice as long each time, for one that hangs costs its timeout again."""

_log = logging.getLogger(__name__)


class RedisStore:
    """Values in a Redis server, shared by a fleet.

    While it cannot be reached it holds nothing and warns; to who looks after it (`add`, `items`, `clear`), it raises
    CacheError.

    What it may hold, and what goes first when it is full, is set on the server (`maxmemory`, `maxmemory-policy`).

    Args:
        address: redis://USER:PASSWORD@HOST:PORT/NUMBER, or rediss:// over TLS.

    Raises:
        ConfigurationError: If that is no address, or `dspex[redis]` is not installed.
    """

    def __init__(self, address: str) -> None:
        try:
            import redis  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigurationError("DSPEX_CACHE names a Redis server: pip install 'dspex[redis]'") from None
        parts = urlsplit(address)
        if parts.password:
            keep_secret(parts.password)
            keep_secret(unquote(parts.password))
        try:
            self._where = f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}{parts.path}"
            # Its own types are too loose to check against.
            self._client: Any = redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
                address, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
            )
        except ValueError as error:
            raise ConfigurationError(f"DSPEX_CACHE is no address of a Redis server: {redacted(str(error))}") from None
        self._errors = (redis.RedisError, OSError)
        self._away_until = 0.0
        self._away_seconds = _AWAY_SECONDS
        self._warned: set[str] = set()
        self._reading: Batches[str, object] = Batches(self._read)
        self._writing: Batches[Mapping[str, str], None] = Batches(self._write)

    async def fetch(self, key: str) -> object:
        """The value kept under a key, or None."""
        return await self._reading.do(key) if self._is_there() else None

    async def put(self, values: Mapping[str, str]) -> None:
        """Keep values. The server has them when this returns."""
        if self._is_there():
            await self._writing.do(values)

    def add(self, values: Mapping[str, str]) -> int:
        """Keep values whose keys hold nothing yet; gives how many those were."""
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for key, value in values.items():
                    pipeline.setnx(_PREFIX + key, value)
                return sum(map(int, pipeline.execute()))
        except self._errors as error:
            raise CacheError(self._trouble(error)) from None

    def items(self) -> Iterator[tuple[str, object]]:
        """All that is kept."""
        try:
            for keys in self._pages():
                values: Any = self._client.mget(keys)
                for key, value in zip(keys, values, strict=True):
                    if value is not None:
                        yield key.decode().removeprefix(_PREFIX), value
        except self._errors as error:
            raise CacheError(self._trouble(error)) from None

    def clear(self) -> int:
        """Forget all; gives how many there were."""
        cleared = 0
        try:
            for keys in self._pages():
                removed: Any = self._client.unlink(*keys)
                cleared += int(removed)
        except self._errors as error:
            raise CacheError(self._trouble(error)) from None
        return cleared

    def stats(self) -> CacheStats:
        """What it holds."""
        entries, size, trouble = 0, 0, None
        try:
            for keys in self._pages():
                with self._client.pipeline(transaction=False) as pipeline:
                    for key in keys:
                        pipeline.strlen(key)
                    size += sum(map(int, pipeline.execute()))
                entries += len(keys)
        except self._errors as error:
            trouble = self._trouble(error)
        return CacheStats(
            where=self._where,
            entries=entries,
            size_bytes=size,
            limit_bytes=None,
            usable=trouble is None,
            trouble=trouble,
        )

    def warn(self, error: Exception) -> None:
        """Log, once for each reason, that something kept here cannot be used."""
        reason = _reason(error)
        if reason not in self._warned:
            self._warned.add(reason)
            _log.warning("the answer cache at %s cannot be used (%s): going on without it", self._where, reason)

    def _trouble(self, error: Exception) -> str:
        return (
            f"the answer cache at {self._where} cannot be used ({_reason(error)}): see that the server runs and takes "
            "what DSPEX_CACHE says"
        )

    def _read(self, batch: list[str]) -> list[object]:
        try:
            values: Any = self._client.mget([_PREFIX + key for key in batch])
        except self._errors as error:
            self._fail(error)
            return [None] * len(batch)
        self._away_seconds = _AWAY_SECONDS
        return list(values)

    def _write(self, batch: list[Mapping[str, str]]) -> list[None]:
        try:
            self._client.mset({_PREFIX + key: value for values in batch for key, value in values.items()})
        except self._errors as error:
            self._fail(error)
        return [None] * len(batch)

    def _pages(self) -> Iterator[list[bytes]]:
        page: list[bytes] = []
        keys = self._client.scan_iter(match=_PREFIX + "*", count=_PAGE)
        for key in keys:
            page.append(key)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    def _is_there(self) -> bool:
        return time.monotonic() >= self._away_until

    def _fail(self, error: Exception) -> None:
        # Not asked again at once: every call would wait for a server that is down.
        self._away_until = time.monotonic() + self._away_seconds
        self._away_seconds = min(2 * self._away_seconds, _LONGEST_AWAY_SECONDS)
        self.warn(error)


def _reason(error: Exception) -> str:
    return redacted(str(error) or type(error).__name__)[:200]
