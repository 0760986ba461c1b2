import os
import re
from collections.abc import Iterator, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from dspex_core.errors import ConfigurationError

_DEFAULT_LIMIT_BYTES = 8 * 1024**3
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


class CacheStats(BaseModel):
    """What a cache holds.

    Attributes:
        where: Its folder, or the address of its server without credentials.
        entries: How many answers.
        size_bytes: How much room they take.
        limit_bytes: The most they may take before the oldest go; None if the server decides that.
        usable: Whether it can be used at all.
        trouble: Why it cannot, and what to do.
    """

    model_config = ConfigDict(frozen=True)

    where: str
    entries: int
    size_bytes: int
    limit_bytes: int | None
    usable: bool = True
    trouble: str | None = None


class Store(Protocol):
    """Texts by key, shared by processes.

    To `fetch` and `put`, one that cannot be used holds nothing and warns. Who looks after it is told: the rest raises
    CacheError, but for `stats`.
    """

    async def fetch(self, key: str) -> object:
        """The value kept under a key, or None."""
        ...

    async def put(self, values: Mapping[str, str]) -> None:
        """Keep values. They are safe when this returns."""
        ...

    def add(self, values: Mapping[str, str]) -> int:
        """Keep values whose keys hold nothing yet; gives how many those were. Blocks."""
        ...

    def items(self) -> Iterator[tuple[str, object]]:
        """All that is kept. Blocks."""
        ...

    def clear(self) -> int:
        """Forget all; gives how many there were. Blocks."""
        ...

    def stats(self) -> CacheStats:
        """What it holds. Blocks."""
        ...

    def warn(self, error: Exception) -> None:
        """Log, once for each reason, that something kept here cannot be used."""
        ...


def cache_limit_bytes() -> int:
    """The most a cache on disk may take: DSPEX_CACHE_LIMIT, such as "500MB" or "2GB", and 8 GB by default.

    Raises:
        ConfigurationError: If that is no size.
    """
    text = os.environ.get("DSPEX_CACHE_LIMIT", "")
    if not text:
        return _DEFAULT_LIMIT_BYTES
    found = _SIZE.fullmatch(text)
    if not found or not float(found[1]):
        raise ConfigurationError(f"DSPEX_CACHE_LIMIT is {text!r}: write a size such as 500MB or 2GB")
    return int(float(found[1]) * _FACTORS[found[2].lower()])


def cache_address() -> str | None:
    """Where the shared cache is: the redis:// address in DSPEX_CACHE, or None for the folder on disk.

    Raises:
        ConfigurationError: If that is something else.
    """
    address = os.environ.get("DSPEX_CACHE", "")
    if not address:
        return None
    if urlsplit(address).scheme not in ("redis", "rediss"):
        scheme = address.partition(":")[0]
        raise ConfigurationError(
            f"DSPEX_CACHE begins with {scheme!r}: write redis://HOST:PORT/0 (or rediss:// over TLS), or unset it for a "
            "cache on disk in DSPEX_HOME"
        )
    return address
