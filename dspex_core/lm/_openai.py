import json
import os
import weakref
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from dspex_core.errors import (
    ConfigurationError,
    LMAuthenticationError,
    LMConnectionError,
    LMError,
    LMMalformedResponseError,
    LMNotFoundError,
    LMProviderError,
    LMRateLimitError,
    LMRequestError,
)
from dspex_core.lm._prices import cost_usd
from dspex_core.redaction import keep_secret, redacted
from dspex_core.seam import LMConfig, LMRequest, LMResponse
from dspex_core.usage import Usage

if TYPE_CHECKING:
    import openai

DEFAULT_ENDPOINT = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
_RETRIED = {408, 409}


class OpenAIProvider:
    """Chat completions through the official SDK; also of any server that speaks OpenAI's API.

    Args:
        config: Model and endpoint.
        api_key: The key; None reads OPENAI_API_KEY.

    Raises:
        ConfigurationError: If there is no key.
    """

    def __init__(self, config: LMConfig, api_key: str | None) -> None:
        key = api_key or os.environ.get(KEY_VARIABLE)
        if not key:
            raise ConfigurationError(
                f"no API key for {config.model}: set {KEY_VARIABLE} (a server that checks none takes any value)"
            )
        keep_secret(key)
        self._config = config
        self._key = key
        self._closer: AsyncGenerator[None, None] | None = None

    async def open(self) -> None:
        """Make the client on the running loop; it is closed with that loop."""
        # The SDK takes a second to import, so it is imported where the first call is made.
        import openai  # noqa: PLC0415

        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self._config.api_base or DEFAULT_ENDPOINT,
            max_retries=0,
            timeout=self._config.timeout_seconds,
            http_client=openai.DefaultAioHttpClient(timeout=self._config.timeout_seconds),
        )
        self._closer = _closed_with_loop(self._client)
        await anext(self._closer)
        weakref.finalize(self, _let_go, self._closer).atexit = False

    async def close(self) -> None:
        """Close the connections."""
        if self._closer is not None:
            await self._closer.aclose()

    async def complete(self, request: LMRequest) -> LMResponse:
        """One attempt at one call.

        Raises:
            LMError: Of the class that says what went wrong; its text never holds the key.
        """
        import openai  # noqa: PLC0415

        config = self._config
        try:
            # The SDK's `chat.completions.create` walks the types of every message of every demo, which takes five times
            # what the rest of the call does; its `post` has the same connections, keys and errors.
            answer = await self._client.post("/chat/completions", cast_to=object, body=self._body(request))
        except openai.APIStatusError as error:
            # `from None`: the SDK's own error quotes headers and bodies, and a workflow history would keep it.
            raise self._status_error(error) from None
        except (TimeoutError, openai.APIConnectionError) as error:
            if isinstance(error, (TimeoutError, openai.APITimeoutError)) and not _was_refused(error):
                raise self._error(LMConnectionError, f"no answer within {config.timeout_seconds:g} s") from None
            reason = str(error.__cause__ or error)
            raise self._error(LMConnectionError, f"cannot reach {self.endpoint}: {reason}") from None
        except (openai.OpenAIError, json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
            raise self._error(LMMalformedResponseError, f"an unreadable answer ({type(error).__name__})") from None
        return self._response(answer)

    @property
    def endpoint(self) -> str:
        """Address that calls go to."""
        return self._config.api_base or DEFAULT_ENDPOINT

    def _body(self, request: LMRequest) -> dict[str, Any]:
        config = self._config
        body: dict[str, Any] = {
            "model": config.name,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "temperature": config.temperature if request.temperature is None else request.temperature,
        }
        if config.max_tokens is not None:
            body["max_tokens"] = config.max_tokens
        return body

    def _response(self, answer: Any) -> LMResponse:
        # A server may send any JSON under status 200.
        try:
            text = answer["choices"][0]["message"]["content"]
            used: Any = answer.get("usage") or {}
            prompt_tokens, completion_tokens = used.get("prompt_tokens", 0), used.get("completion_tokens", 0)
            usage = Usage(
                lm_calls=1,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                cost_usd=cost_usd(self._config.model, prompt_tokens, completion_tokens),
            )
            return LMResponse(text=text or "", usage=usage)
        except (TypeError, AttributeError, KeyError, IndexError, ValueError):
            raise self._error(LMMalformedResponseError, "an answer without choices or usage") from None

    def _status_error(self, error: "openai.APIStatusError") -> LMError:
        status = error.status_code
        if status in (401, 403):
            return self._error(LMAuthenticationError, f"the API key was rejected: check {KEY_VARIABLE}", status=status)
        kinds: dict[int, type[LMError]] = {404: LMNotFoundError, 429: LMRateLimitError}
        fallback = LMProviderError if status >= 500 or status in _RETRIED else LMRequestError  # noqa: PLR2004 - HTTP
        wait = _retry_after(error.response.headers.get("retry-after"))
        return self._error(kinds.get(status, fallback), _detail(error), status=status, retry_after=wait)

    def _error(
        self, kind: type[LMError], detail: str, *, status: int | None = None, retry_after: float | None = None
    ) -> LMError:
        said = redacted(f"{self._config.model}: {f'status {status}, ' if status else ''}{detail}")
        return kind(
            said, provider=self._config.provider, model=self._config.name, status=status, retry_after=retry_after
        )


async def _closed_with_loop(client: "openai.AsyncOpenAI") -> AsyncGenerator[None, None]:
    # A loop closes the asynchronous generators that are dropped, or still open when it ends: the moments when
    # connections that nobody closed can be closed.
    try:
        yield
    finally:
        await client.close()


def _let_go(closer: AsyncGenerator[None, None]) -> None:
    """Called when the provider is gone. Until then the client is kept out of any garbage that the provider is part of.

    With this call the last reference to `closer` goes, and its loop closes it.
    """


def _was_refused(error: BaseException | None) -> bool:
    """Whether no connection came about; the SDK calls that a timeout, too."""
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            return True
        error = error.__cause__
    return False


def _detail(error: "openai.APIStatusError") -> str:
    body: Any = error.body
    message = body.get("message") if isinstance(body, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return str(message or error.message)[:500]  # pyright: ignore[reportUnknownArgumentType]


def _retry_after(header: str | None) -> float | None:
    """Seconds to wait: the header holds a number of them, or a date (RFC 9110, section 10.2.3)."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
