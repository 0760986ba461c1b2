import json
import math
import time
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

MODELS = ("fake-learner", "gpt-4o-mini", "gpt-4o")
"""What GET /v1/models lists; any other name is answered too."""

_CHARACTERS_PER_TOKEN = 4


class TextPart(BaseModel):
    """A piece of a message; pieces that are no text are passed over."""

    text: str = ""


class ChatMessage(BaseModel):
    """One message of a request."""

    role: str
    content: str | list[TextPart] | None = None

    def text(self) -> str:
        """The message's text, its parts joined."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or ())


class ChatRequest(BaseModel):
    """The part of a /v1/chat/completions body that is read."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1)
    messages: list[ChatMessage] = Field(min_length=1)
    temperature: float | None = None
    n: int | None = None
    stream: bool | None = None


def tokens(text: str) -> int:
    """Four characters are a token."""
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def completion(*, content_id: str, model: str, answer: str, prompt_tokens: int) -> tuple[bytes, int]:
    """A body as /v1/chat/completions gives it, and the number of tokens of the answer."""
    completion_tokens = tokens(answer)
    body: dict[str, Any] = {
        "id": f"chatcmpl-{content_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }
    return json.dumps(body, ensure_ascii=False).encode(), completion_tokens


def malformed(*, content_id: str, broken_json: bool) -> bytes:
    """A body that is cut off, or one that is JSON without choices."""
    if broken_json:
        return f'{{"id": "chatcmpl-{content_id}", "object": "chat.completion", "choices": [{{"index": 0, "mess'.encode()
    return json.dumps({"id": f"chatcmpl-{content_id}", "object": "chat.completion"}).encode()


def model_list() -> web.Response:
    """The body of GET /v1/models."""
    entries = [{"id": name, "object": "model", "created": 0, "owned_by": "dspex"} for name in MODELS]
    return web.json_response({"object": "list", "data": entries})


def refusal(status: int, message: str, *, kind: str, code: str | None = None) -> web.Response:
    """An error as OpenAI's API words it."""
    return web.json_response(
        {"error": {"message": message, "type": kind, "param": None, "code": code}},
        status=status,
    )


def bad_request(message: str) -> web.Response:
    """Status 400: the request cannot be served as it is."""
    return refusal(400, message, kind="invalid_request_error")


def unauthorized(*, key_sent: bool) -> web.Response:
    """Status 401: no key, or another than the one accepted."""
    if not key_sent:
        message = "You didn't provide an API key: send it as `Authorization: Bearer YOUR_KEY`."
        return refusal(401, message, kind="invalid_request_error")
    message = "Incorrect API key provided: send the one that this provider was started with."
    return refusal(401, message, kind="invalid_request_error", code="invalid_api_key")


def too_many_requests(message: str, retry_after_seconds: float) -> web.Response:
    """Status 429, with the header that says how long to wait."""
    response = refusal(429, message, kind="requests", code="rate_limit_exceeded")
    response.headers["Retry-After"] = f"{retry_after_seconds:g}"
    return response
