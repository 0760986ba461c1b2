import asyncio
import hashlib
import json
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dspex_core.errors import ConfigurationError, LMMalformedResponseError
from dspex_core.home import home
from dspex_core.lm import DiskStore, Endpoint, checked_key, cost_usd, in_turns, lm_config, pool_of, preset_of, served_at
from dspex_core.retrieval._extra import require
from dspex_core.seam import LMConfig, add_usage, current_caller
from dspex_core.usage import Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_MODEL = "openai/text-embedding-3-small"


class Embedder:
    """Turns texts into vectors with a model behind an API like OpenAI's, in batches, with retries and a cache on disk.

        embedder = Embedder("openai/text-embedding-3-small")
        vectors = await embedder.embed(["a text", "another"])

    Safe to share between tasks, loops and threads. As of an `LM`, its calls in flight adapt to the provider, callers
    take turns, and a circuit breaker leaves a provider alone that is down. What calls took is added to the usage of the
    program that made them: tokens and cost, though not as LM calls.

    Args:
        model: Provider and model.
        api_base: Endpoint of an OpenAI-compatible server; None for the one in the provider's variable, such as
            OPENAI_BASE_URL, or its own.
        api_key: The key, if not in the provider's variable, such as OPENAI_API_KEY. It stays in this object.
        dimensions: Length of the vectors, for models that let one choose.
        batch_size: Most texts a call.
        cache: Whether vectors are kept and found again.
        timeout_seconds: Longest wait for one attempt.
        concurrency: Most calls in flight at once, per process; fewer are as long as the provider takes no more.

    Raises:
        ConfigurationError: If an option does not fit, or numpy is not installed.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        dimensions: int | None = None,
        batch_size: int = 256,
        cache: bool = True,
        timeout_seconds: float = 60.0,
        concurrency: int = 8,
    ) -> None:
        require("numpy")
        if batch_size < 1 or (dimensions is not None and dimensions < 1):
            raise ConfigurationError(f"Embedder {model!r}: batch_size and dimensions must be 1 or more")
        self._config: LMConfig = lm_config(
            model, api_base=api_base, cache=cache, timeout_seconds=timeout_seconds, concurrency=concurrency
        )
        if preset_of(model).api == "anthropic":
            raise ConfigurationError(
                f"Embedder {model!r}: Anthropic serves no embeddings; take another provider's model"
            )
        self._api_key = checked_key(api_key, model=model, source="api_key")
        self._dimensions = dimensions
        self._batch_size = batch_size
        self._vectors: DiskStore | None = None
        self._pool = pool_of(self._config, endpoint=served_at(self._config), api_key=self._api_key)
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Endpoint] = weakref.WeakKeyDictionary()

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the vectors, as arguments of `Embedder`; never a key. Saved indexes record it."""
        return {"model": self._config.model, "api_base": self._config.api_base, "dimensions": self._dimensions}

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """One vector a text, in the texts' order: an array of shape (texts, dimensions).

        Equal texts are sent once. Vectors are on disk before they are returned.

        Raises:
            ConfigurationError: If there is no key.
            LMError: If a batch failed after all retries that make sense; those that succeeded are in the cache.
        """
        import numpy as np  # noqa: PLC0415 - comes with dspex[retrieval]

        if not texts:
            return np.empty((0, self._dimensions or 0), dtype=np.float32)
        distinct = list(dict.fromkeys(texts))
        found = await asyncio.to_thread(self._known, distinct) if self._config.cache else {}
        missing = [text for text in distinct if text not in found]
        here = await self._on_this_loop() if missing else None
        if here is not None:
            size = self._batch_size
            calls = [self._embed_batch(here, missing[at : at + size]) for at in range(0, len(missing), size)]
            # All are awaited even if one fails, so that vectors under way are kept.
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
                found |= outcome
        return np.stack([found[text] for text in texts])

    async def close(self) -> None:
        """Close the connections of the running loop."""
        here = self._loops.pop(asyncio.get_running_loop(), None)
        if here is not None:
            await here.close()

    def __repr__(self) -> str:
        return f"Embedder({self._config.model!r})"

    async def _embed_batch(self, here: Endpoint, texts: Sequence[str]) -> "dict[str, NDArray[np.float32]]":
        vectors, usage = await self._ask(here, texts)
        add_usage(usage)
        return dict(zip(texts, vectors, strict=True))

    async def _ask(self, here: Endpoint, texts: Sequence[str]) -> "tuple[NDArray[np.float32], Usage]":
        async def attempt() -> "tuple[NDArray[np.float32], Usage]":
            answer = await here.post("/embeddings", self._body(texts))
            vectors, usage = self._read(here, answer, len(texts))
            if self._config.cache:
                kept = zip(texts, vectors, strict=True)
                await self._store().put({self._key(text): vector.astype("<f4").tobytes() for text, vector in kept})
            return vectors, usage

        return await in_turns(self._pool.turn(patient=current_caller() is not None), attempt)

    def _body(self, texts: Sequence[str]) -> dict[str, Any]:
        # Vectors as numbers: not every server that speaks this API knows the shorter base64.
        body: dict[str, Any] = {"model": self._config.name, "input": list(texts), "encoding_format": "float"}
        return body if self._dimensions is None else body | {"dimensions": self._dimensions}

    def _read(self, endpoint: Endpoint, answer: Any, size: int) -> "tuple[NDArray[np.float32], Usage]":
        import numpy as np  # noqa: PLC0415 - comes with dspex[retrieval]

        # A server may send any JSON under status 200.
        try:
            entries = sorted(answer["data"], key=lambda entry: entry["index"])
            vectors = np.asarray([entry["embedding"] for entry in entries], dtype=np.float32)
            used: Any = answer.get("usage") or {}
            tokens = int(used.get("prompt_tokens", 0))
        except (TypeError, AttributeError, KeyError, ValueError):
            raise endpoint.error(LMMalformedResponseError, "an answer without embeddings") from None
        wanted = (size, self._dimensions or (vectors.shape[-1] if vectors.ndim else 0))
        if vectors.shape != wanted or not vectors.size or not np.isfinite(vectors).all():
            raise endpoint.error(
                LMMalformedResponseError, f"embeddings of shape {vectors.shape}, where {wanted} was asked for"
            )
        return vectors, Usage(prompt_tokens=tokens, cost_usd=cost_usd(self._config.model, tokens, 0))

    def _known(self, texts: Sequence[str]) -> "dict[str, NDArray[np.float32]]":
        import numpy as np  # noqa: PLC0415 - comes with dspex[retrieval]

        store, found = self._store(), dict[str, "NDArray[np.float32]"]()
        for text in texts:
            kept = store.get(self._key(text))
            if isinstance(kept, bytes) and kept and len(kept) % 4 == 0:
                found[text] = np.frombuffer(kept, dtype="<f4").astype(np.float32)
        return found

    def _key(self, text: str) -> str:
        named = [self._config.api_base, self._config.model, self._dimensions, text]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()

    async def _on_this_loop(self) -> Endpoint:
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            here = self._loops[loop] = Endpoint(self._config, api_key=self._api_key, heed=self._pool.heed)
            await here.open()
        return here

    def _store(self) -> DiskStore:
        if self._vectors is None:
            self._vectors = DiskStore(home() / "embeddings")
        return self._vectors
