import json
import os
import re
import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from dspex_core.errors import (
    ConfigurationError,
    LMAuthenticationError,
    LMConnectionError,
    LMContextLengthError,
    LMError,
    LMMalformedResponseError,
    LMNotFoundError,
    LMProviderError,
    LMRateLimitError,
    LMRequestError,
)
from dspex_core.redaction import keep_secret, redacted

if TYPE_CHECKING:
    import openai

DEFAULT_ENDPOINT = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
_RETRIED = {408, 409}
# There is no status for it: these are the words of OpenAI, vLLM, llama.cpp, Anthropic and Google.
_TOO_LONG = re.compile(
    r"context[ _](length|window|size)|prompt is too long|input is too long|maximum number of tokens allowed|"
    r"reduce the length of the (messages|prompt|input)",
    re.IGNORECASE,
)


class OpenAIEndpoint:
    """Posts to OpenAI's API, or to a server that speaks it, through the official SDK; one attempt, no retries.

    Belongs to one event loop from `open` on, and is closed with it.

    Args:
        model: Provider and model, for what errors say.
        url: Where the API is served; None for OpenAI's own.
        api_key: The key; None reads OPENAI_API_KEY.
        timeout_seconds: Longest wait for an answer.

    Raises:
        ConfigurationError: If there is no key.
    """

    def __init__(self, model: str, url: str | None, *, api_key: str | None, timeout_seconds: float) -> None:
        key = api_key or os.environ.get(KEY_VARIABLE)
        if not key:
            raise ConfigurationError(
                f"no API key for {model}: set {KEY_VARIABLE} (a server that checks none takes any value)"
            )
        keep_secret(key)
        self.url = url or DEFAULT_ENDPOINT
        self._model = model
        self._key = key
        self._timeout_seconds = timeout_seconds
        self._closer: AsyncGenerator[None, None] | None = None

    async def open(self) -> None:
        """Make the client on the running loop; it is closed with that loop."""
        # The SDK takes a second to import, so it is imported where the first call is made.
        import openai  # noqa: PLC0415

        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self.url,
            max_retries=0,
            timeout=self._timeout_seconds,
            http_client=openai.DefaultAioHttpClient(timeout=self._timeout_seconds),
        )
        self._closer = _closed_with_loop(self._client)
        await anext(self._closer)
        weakref.finalize(self, _let_go, self._closer).atexit = False

    async def close(self) -> None:
        """Close the connections."""
        if self._closer is not None:
            await self._closer.aclose()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """One attempt at one call: the answer's JSON, whatever it holds.

        Raises:
            LMError: Of the class that says what went wrong; its text never holds the key.
        """
        with self._as_ours():
            # The SDK's `chat.completions.create` walks the types of every message of every demo, which takes five times
            # what the rest of the call does; its `post` has the same connections, keys and errors.
            return await self._client.post(path, cast_to=object, body=body)

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[Any]:
        """One attempt at one call: the JSON of the answer's server-sent events, as they arrive.

        Raises:
            LMError: As `post` does; also in the middle.
        """
        import openai  # noqa: PLC0415

        with self._as_ours():
            answer = await self._client.post(
                path, cast_to=object, body=body, stream=True, stream_cls=openai.AsyncStream[object]
            )
            async with answer:
                async for event in answer:
                    yield event

    @contextmanager
    def _as_ours(self) -> Generator[None]:
        """Turn the SDK's errors into ours."""
        import openai  # noqa: PLC0415

        try:
            yield
        except openai.APIStatusError as error:
            # `from None`: the SDK's own error quotes headers and bodies, and a workflow history would keep it.
            raise self._status_error(error) from None
        except (TimeoutError, openai.APIConnectionError) as error:
            if isinstance(error, (TimeoutError, openai.APITimeoutError)) and not _was_refused(error):
                raise self.error(LMConnectionError, f"no answer within {self._timeout_seconds:g} s") from None
            reason = str(error.__cause__ or error)
            raise self.error(LMConnectionError, f"cannot reach {self.url}: {reason}") from None
        except (openai.OpenAIError, json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
            raise self.error(LMMalformedResponseError, f"an unreadable answer ({type(error).__name__})") from None

    def error(
        self, kind: type[LMError], detail: str, *, status: int | None = None, retry_after: float | None = None
    ) -> LMError:
        """An error about a call to this model, free of keys."""
        provider, _, name = self._model.partition("/")
        said = redacted(f"{self._model}: {f'status {status}, ' if status else ''}{detail}")
        return kind(said, provider=provider, model=name, status=status, retry_after=retry_after)

    def _status_error(self, error: "openai.APIStatusError") -> LMError:
        status = error.status_code
        if status in (401, 403):
            return self.error(LMAuthenticationError, f"the API key was rejected: check {KEY_VARIABLE}", status=status)
        if status == 404:  # noqa: PLR2004 - HTTP
            hint = f"check the model's name and the address {self.url} (it usually ends in /v1)"
            return self.error(LMNotFoundError, f"{_detail(error)}; {hint}", status=status)
        kinds: dict[int, type[LMError]] = {429: LMRateLimitError}
        fallback = LMProviderError if status >= 500 or status in _RETRIED else LMRequestError  # noqa: PLR2004 - HTTP
        if status in (400, 413) and _TOO_LONG.search(f"{error.code or ''} {_detail(error)}"):
            fallback = LMContextLengthError
        wait = _retry_after(error.response.headers.get("retry-after"))
        return self.error(kinds.get(status, fallback), _detail(error), status=status, retry_after=wait)


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
