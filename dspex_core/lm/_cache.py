import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, Field, ValidationError

from dspex_core.errors import DatasetError
from dspex_core.home import home
from dspex_core.lm._disk import DiskStore
from dspex_core.lm._flights import Flights, MachineLocks
from dspex_core.lm._redis import RedisStore
from dspex_core.lm._store import CacheStats, Store, cache_address
from dspex_core.seam import LMConfig, LMRequest, LMResponse, Message

_PAGE = 500
_sharing = threading.Lock()


def cache_key(config: LMConfig, request: LMRequest, *, endpoint: str) -> str:
    """Digest of everything that decides an answer: endpoint, model, messages, sampling, rollout. Never a credential."""
    canonical: dict[str, Any] = {
        "endpoint": endpoint,
        "model": config.model,
        "max_tokens": config.max_tokens,
        "temperature": config.temperature if request.temperature is None else request.temperature,
        "rollout_id": request.rollout_id,
        "messages": [[message.role, _content(message)] for message in request.messages],
    }
    if config.model_type != "chat":
        canonical["model_type"] = config.model_type
    if config.reasoning_effort is not None:
        canonical["reasoning_effort"] = config.reasoning_effort
    if config.extra:
        canonical["extra"] = config.extra
    if request.tools:
        canonical["tools"] = [tool.model_dump() for tool in request.tools]
    if request.response_format is not None:
        canonical["response_format"] = request.response_format.model_dump()
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def _content(message: Message) -> Any:
    return message.content if isinstance(message.content, str) else [part.model_dump() for part in message.content]


class CachedAnswer(BaseModel):
    """An answer that is kept, and the name of the work that paid for it; see `Payer`."""

    response: LMResponse
    paid_by: str = ""


class ResponseCache:
    """Answers that are kept: on disk, shared by all processes of this machine, or on a Redis server, shared by a fleet.

    Every reader gets an answer of its own. To a call, a cache that fails is no cache: it warns and is skipped.

    Args:
        folder: Where it lies on disk. By default the server that DSPEX_CACHE names, or else "cache" in DSPEX_HOME.

    Raises:
        ConfigurationError: If DSPEX_CACHE or DSPEX_CACHE_LIMIT cannot be understood.
    """

    def __init__(self, folder: Path | None = None) -> None:
        address = cache_address() if folder is None else None
        self._store: Store = RedisStore(address) if address else DiskStore(folder or home() / "cache")
        with _sharing:
            self._flights, self._locks = _shared(home() / "calls.lock")

    def __len__(self) -> int:
        return self.stats().entries

    async def get(self, key: str) -> CachedAnswer | None:
        """The answer kept under a key, or None."""
        stored = await self._store.fetch(key)
        if stored is None:
            return None
        try:
            return CachedAnswer.model_validate_json(cast("str | bytes", stored))
        except ValidationError as error:
            self._store.warn(error)
            return None

    async def put(self, key: str, answer: CachedAnswer) -> None:
        """Keep an answer. It is safe when this returns."""
        await self._store.put({key: answer.model_dump_json()})

    async def once(
        self, key: str, ask: Callable[[], Awaitable[CachedAnswer]], *, asker: Hashable
    ) -> tuple[CachedAnswer, bool]:
        """The answer to a call: the one that is kept, or else one asked for; and whether it was asked for here.

        Equal calls that other tasks, threads or processes of this machine make at the same time are sent once: one asks
        and keeps the answer before anybody uses it; the others wait for it.

        Args:
            key: Where the answer is kept, or will be.
            ask: Makes the call, and keeps the answer (`put`) before it gives it.
            asker: Who may share a failure within this process: a rejected key is no news for the owner of another.

        Raises:
            LMError: As `ask` does.
        """
        lock = _Lock(self._locks, key)
        # Who has the lock before it looks need not look again: nobody else keeps an answer under this key meanwhile.
        lock.take_if_free()
        try:
            known = await self.get(key)
        except BaseException:
            lock.give_back()
            raise
        if known is not None:
            lock.give_back()
            return known, False

        async def alone() -> tuple[CachedAnswer, bool]:
            if not lock.taken:
                await lock.take()
                known = await self.get(key)
                if known is not None:
                    return known, False
            return await ask(), True

        (answer, fresh), mine = await self._flights.once((key, asker), alone, let_go=lock.give_back)
        return (answer, fresh) if mine else (answer.model_copy(deep=True), False)

    def stats(self) -> CacheStats:
        """What it holds."""
        return self._store.stats()

    def clear(self) -> int:
        """Forget all answers; gives how many there were.

        Raises:
            CacheError: If they cannot be forgotten.
        """
        return self._store.clear()

    def export(self) -> Iterator[str]:
        """Every answer as a line of JSON, for `load`.

        Raises:
            CacheError: If they cannot be read, or not further.
        """
        for key, stored in self._store.items():
            try:
                answer = CachedAnswer.model_validate_json(cast("str | bytes", stored))
            except ValidationError as error:
                self._store.warn(error)
            else:
                yield _Line(key=key, answer=answer).model_dump_json()

    def load(self, lines: Iterable[str]) -> int:
        """Take in answers that `export` wrote; those that are known already stay as they are.

        Returns:
            How many were new.

        Raises:
            DatasetError: If a line is no answer; names it. Lines before it may have been taken in.
            CacheError: If they cannot be kept.
        """
        added, page = 0, dict[str, str]()
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            try:
                line = _Line.model_validate_json(text)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                raise DatasetError(f"line {number} is no cached answer: {first['msg']}") from None
            page[line.key] = line.answer.model_dump_json()
            if len(page) == _PAGE:
                added += self._store.add(page)
                page = {}
        return added + (self._store.add(page) if page else 0)


class _Lock:
    """One caller's hold on the lock of a key."""

    def __init__(self, locks: MachineLocks, key: str) -> None:
        self._locks, self._key = locks, key
        self.taken = False

    def take_if_free(self) -> None:
        self.taken = self._locks.take_if_free(self._key)

    async def take(self) -> None:
        await self._locks.take(self._key)
        self.taken = True

    def give_back(self) -> None:
        if self.taken:
            self.taken = False
            self._locks.give_back(self._key)


class _Line(BaseModel):
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    answer: CachedAnswer


@cache
def _shared(file: Path) -> tuple[Flights[tuple[CachedAnswer, bool]], MachineLocks]:
    """What all caches of this process share."""
    return Flights(), MachineLocks(file)
