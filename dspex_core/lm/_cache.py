import hashlib
import json
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from dspex_core.home import home
from dspex_core.lm._disk import DiskStore
from dspex_core.seam import LMConfig, LMRequest, LMResponse, Message


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
    if request.tools:
        canonical["tools"] = [tool.model_dump() for tool in request.tools]
    if request.response_format is not None:
        canonical["response_format"] = request.response_format.model_dump()
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def _content(message: Message) -> Any:
    return message.content if isinstance(message.content, str) else [part.model_dump() for part in message.content]


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
        self._disk = DiskStore(folder or home() / "cache")

    def __len__(self) -> int:
        return len(self._disk)

    def get(self, key: str) -> CachedAnswer | None:
        """The answer kept under a key, or None."""
        stored = self._disk.get(key)
        if stored is None:
            return None
        try:
            return CachedAnswer.model_validate_json(cast("str", stored))
        except ValidationError as error:
            self._disk.warn(error)
            return None

    async def put(self, key: str, answer: CachedAnswer) -> None:
        """Keep an answer. It is on disk when this returns."""
        await self._disk.put({key: answer.model_dump_json()})
