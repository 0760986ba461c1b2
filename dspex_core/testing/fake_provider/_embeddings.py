import base64
import hashlib
import json
import math
import struct
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._call import tokens
from dspex_core.testing.fake_provider._exchange import (
    NOT_JSON,
    Answer,
    Mind,
    Refusal,
    Usage,
    bearer_key,
    digest,
    invalid,
)
from dspex_core.testing.fake_provider._words import words

DIMENSIONS = 256
_MOST_TEXTS = 2048


class EmbeddingRequest(BaseModel):
    """The part of a /v1/embeddings body that is read."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1)
    input: str | Annotated[list[str], Field(min_length=1, max_length=_MOST_TEXTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int = Field(default=DIMENSIONS, ge=1, le=4096)

    def texts(self) -> list[str]:
        """The texts to embed."""
        return [self.input] if isinstance(self.input, str) else self.input


@dataclass(frozen=True)
class EmbeddingExchange:
    """One request for embeddings."""

    request: EmbeddingRequest
    content: bytes
    stream: bool = False

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self.request.model

    def answer(self, mind: Mind, chunk_characters: int) -> Answer:
        """The vectors, which no mind is needed for."""
        body, prompt_tokens = embeddings(self.request)
        return Answer(Usage(prompt_tokens), body)

    def malformed(self, *, broken_json: bool) -> bytes:
        """A body that is cut off, or one without data."""
        return b'{"object": "list", "data": [{"obj' if broken_json else b'{"object": "list"}'

    def stream_error(self, number: int) -> bytes:
        """Never asked for: embeddings are not streamed."""
        return b""


class Embeddings:
    """The endpoint /v1/embeddings."""

    name = "embeddings"
    key = staticmethod(bearer_key)

    def read(self, raw: bytes) -> EmbeddingExchange | Refusal:
        """The request in a body, or why it cannot be served."""
        try:
            body: Any = json.loads(raw)
            request = EmbeddingRequest.model_validate(body)
        except ValidationError as error:
            return invalid(error)
        except ValueError:
            return NOT_JSON
        if not all(request.texts()):
            return Refusal(400, "Invalid request at `input`: a text is empty.", param="input")
        return EmbeddingExchange(request, digest(["embeddings", body]))

    def refuse(self, refusal: Refusal) -> web.Response:
        """An error as OpenAI's API answers it."""
        return _openai.refuse(refusal)


def embeddings(request: EmbeddingRequest) -> tuple[bytes, int]:
    """A body as /v1/embeddings gives it, and the number of tokens of the texts."""
    count = sum(tokens(text) for text in request.texts())
    body = {
        "object": "list",
        "model": request.model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _written(embed(text, request.dimensions), request)}
            for index, text in enumerate(request.texts())
        ],
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }
    return json.dumps(body).encode(), count


def embed(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """A vector of length 1 made of the text's words alone, so that texts with words in common lie near each other.

    Each word's stem adds to one place, with a sign of its own that lets chance meetings cancel out.

    Source: Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning".
    """
    # A text without a telling word still has a place, which it shares with its equals only.
    counts = Counter(words(text)) or Counter([f"\n{text}"])
    vector = [0.0] * dimensions
    for word, times in counts.items():
        place, sign = _place(word)
        vector[place % dimensions] += sign * (1 + math.log(times))
    length = math.sqrt(sum(value * value for value in vector))
    if not length:
        place, _ = _place(f"\n{text}")
        return [float(at == place % dimensions) for at in range(dimensions)]
    return [value / length for value in vector]


@lru_cache(maxsize=65_536)
def _place(word: str) -> tuple[int, float]:
    drawn = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return int.from_bytes(drawn[:7]), 1.0 if drawn[7] % 2 else -1.0


def _written(vector: list[float], request: EmbeddingRequest) -> list[float] | str:
    if request.encoding_format == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
