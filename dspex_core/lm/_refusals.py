"""What a provider's refusal means: its status, where it has one, its own word for it, and what it says."""

import re
from typing import Any, cast

from pydantic_core import from_json

from dspex_core.errors import (
    LMAuthenticationError,
    LMContextLengthError,
    LMError,
    LMNotFoundError,
    LMProviderError,
    LMQuotaError,
    LMRateLimitError,
    LMRequestError,
)

_STATUS_OF_WORD = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
}
"""What a failure in the middle of a stream would have been as a status; any other is the provider's own (500)."""
_KIND_OF_STATUS: dict[int, type[LMError]] = {
    401: LMAuthenticationError,
    402: LMQuotaError,
    403: LMAuthenticationError,
    404: LMNotFoundError,
    408: LMProviderError,
    409: LMProviderError,
    429: LMRateLimitError,
}
_QUOTA_SPENT = ("insufficient_quota", "billing_error")
# There is no status for these: Google refuses a key, and Anthropic an account without credit, as it does a bad request.
_NO_KEY = re.compile(r"api key not valid|api_key_invalid", re.IGNORECASE)
_NO_CREDIT = re.compile(r"credit balance is too low", re.IGNORECASE)
# The words of OpenAI, vLLM, llama.cpp, Anthropic and Google.
_TOO_LONG = re.compile(
    r"context[ _](length|window|size)|prompt is too long|input is too long|maximum number of tokens allowed|"
    r"reduce the length of the (messages|prompt|input)",
    re.IGNORECASE,
)
# OpenRouter's status for a prompt that a moderator flagged is that of a key without rights.
_FLAGGED = re.compile(r"\b(flagged|moderation)\b", re.IGNORECASE)


def kind_of(detail: str, *, code: str, status: int | None, asks_to_wait: bool) -> type[LMError]:
    """The error that a provider's own words stand for.

    Args:
        detail: What it says.
        code: Its word for the kind of error, or a number that would have been the status.
        status: HTTP status; None if the error came with an answer that had begun well.
        asks_to_wait: Whether it says for how long to wait.
    """
    known = status or _STATUS_OF_WORD.get(code) or (int(code) if re.fullmatch(r"[45]\d\d", code) else 500)
    said = f"{code} {detail}"
    if known in (400, 413):
        for words, kind in (
            (_NO_KEY, LMAuthenticationError),
            (_NO_CREDIT, LMQuotaError),
            (_TOO_LONG, LMContextLengthError),
        ):
            if words.search(said):
                return kind
    if code in _QUOTA_SPENT:
        return LMQuotaError
    if known == 402 and asks_to_wait:  # noqa: PLR2004 - HTTP; OpenRouter: too much is in flight for what is left
        return LMRateLimitError
    if known == 403 and _FLAGGED.search(said):  # noqa: PLR2004 - HTTP
        return LMRequestError
    return _KIND_OF_STATUS.get(known, LMProviderError if known >= 500 else LMRequestError)  # noqa: PLR2004 - HTTP


def said_in(body: bytes) -> tuple[str, str]:
    """What the body of a refusal says, and its word for it."""
    try:
        return said_by(from_json(body))
    except ValueError:
        return said_by(body.decode(errors="replace"))


def said_by(body: Any) -> tuple[str, str]:
    """The same of JSON: OpenAI's form, Anthropic's, Google's (a list of one), and what others make of them."""
    if isinstance(body, list):
        body = next(iter(cast("list[Any]", body)), None)
    if isinstance(body, dict):
        fields = cast("dict[str, Any]", body)
        body = fields.get("error") or fields.get("message") or fields.get("detail") or fields
    if isinstance(body, dict):
        fields = cast("dict[str, Any]", body)
        return str(fields.get("message") or fields)[:500], str(fields.get("code") or fields.get("type") or "")
    said: object = body
    return str(said or "no reason given")[:500], ""
