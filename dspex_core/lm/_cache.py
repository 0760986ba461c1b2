import asyncio
import hashlib
import json
import logging
import sqlite3
from pathlib import Path
from typing import cast

import diskcache
from pydantic import BaseModel

from dspex_core.home import home
from dspex_core.seam import LMConfig, LMRequest, LMResponse

SIZE_LIMIT_BYTES = 8 * 1024**3

_log = logging.getLogger(__name__)
_ERRORS = (OSError, sqlite3.Error, diskcache.Timeout, ValueError)


def cache_key(config: LMConfig, request: LMRequest, *, endpoint: str) -> str:
    """Digest of everything that decides an answer: endpoint, model, messages, sampling, rollout. Never a credential."""
    canonical = {
        "endpoint": endpoint,
        "model": config.model,
        "max_tokens": config.max_tokens,
        "temperature": config.temperature if request.temperature is None else request.temperature,
        "rollout_id": request.rollout_id,
        "messages": [[message.role, message.content] for message in request.messages],
    }
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


class CachedAnswer(BaseModel):
    """An answer on disk, and the name of the work that paid for it; see `Payer`."""

    response: LMResponse
    paid_by: str = ""


class ResponseCache:
    """Answers on disk, shared by all processes of this machine. One that fails is no cache: it warns and is skipped.

    Args:
        folder: Where it lies; by default "cache" in DSPEX_HOME.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or home() / "cache"
        self._store: diskcache.Cache | None = None
        try:
            # Reads then write nothing, so that they never wait for another process.
            self._store = diskcache.Cache(
                str(self._folder), size_limit=SIZE_LIMIT_BYTES, eviction_policy="least-recently-stored"
            )
        except _ERRORS as error:
            self._warn(error)

    def __len__(self) -> int:
        return 0 if self._store is None else len(self._store)

    def get(self, key: str) -> CachedAnswer | None:
        """The answer kept under a key, or None."""
        if self._store is None:
            return None
        try:
            stored = self._store.get(key)
            return None if stored is None else CachedAnswer.model_validate_json(cast("str", stored))
        except _ERRORS as error:
            self._warn(error)
            return None

    async def put(self, key: str, answer: CachedAnswer) -> None:
        """Keep an answer. It is on disk when this returns."""
        if self._store is None:
            return
        try:
            await asyncio.to_thread(self._store.set, key, answer.model_dump_json())
        except _ERRORS as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        _log.warning("the answer cache in %s cannot be used (%s): going on without it", self._folder, error)
