import os
import re
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from pydantic_core import PydanticSerializationError, from_json, to_json

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
    LMTimeoutError,
)
from dspex_core.lm._http import Connections, Reply, Unreachable, close_with_loop
from dspex_core.lm._rates import retry_after
from dspex_core.redaction import keep_secret, redacted

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
    """Posts to OpenAI's API, or to a server that speaks it; one attempt, no retries.

    The official SDK says what is sent with a request (address, key, organization, project); the request itself is a
    bare post, see `Connections`. Belongs to one event loop from `open` on, and is closed with it.

    Args:
        model: Provider and model, for what errors say.
        url: Where the API is served; None for OpenAI's own.
        api_key: The key; None reads OPENAI_API_KEY.
        timeout_seconds: Longest wait for an answer.
        heed: Told the headers of every answer, in small letters; they say how much the provider still allows.

    Raises:
        ConfigurationError: If there is no key.
    """

    def __init__(
        self,
        model: str,
        url: str | None,
        *,
        api_key: str | None,
        timeout_seconds: float,
        heed: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
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
        self._heed = heed
        self._closer: AsyncGenerator[None, None] | None = None

    async def open(self) -> None:
        """Make the client on the running loop; it is closed with that loop."""
        # The SDK takes a second to import, so it is imported where the first call is made.
        import openai  # noqa: PLC0415

        client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self.url,
            max_retries=0,
            timeout=self._timeout_seconds,
            http_client=openai.DefaultAioHttpClient(timeout=self._timeout_seconds),
        )
        # What the SDK leaves out of a request is no text.
        given: dict[str, object] = {**client.default_headers, **client.auth_headers}
        headers = {
            name: value
            for name, value in given.items()
            # The SDK's account of itself is true only of requests that it sends.
            if isinstance(value, str) and not name.lower().startswith("x-stainless-")
        }
        connections = Connections(headers, timeout_seconds=self._timeout_seconds)
        self._client, self._connections = client, connections

        async def close() -> None:
            await connections.close()
            await client.close()

        self._closer = await close_with_loop(self, close)
        await connections.open(self.url)

    async def close(self) -> None:
        """Close the connections."""
        if self._closer is not None:
            await self._closer.aclose()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """One attempt at one call: the answer's JSON, whatever it holds.

        Raises:
            LMError: Of the class that says what went wrong; its text never holds the key.
        """
        try:
            sent = to_json(body)
        except (PydanticSerializationError, ValueError) as error:
            raise self.error(LMRequestError, f"the request cannot be written as JSON ({error})") from None
        try:
            reply = await self._connections.post(self.url + path, sent)
        except Unreachable as error:
            if error.timed_out:
                raise self.error(LMTimeoutError, f"no answer within {self._timeout_seconds:g} s") from None
            raise self.error(LMConnectionError, f"cannot reach {self.url}: {error}") from None
        if self._heed is not None:
            self._heed(reply.headers)
        if not 200 <= reply.status < 300:  # noqa: PLR2004 - HTTP
            raise self._status_error(reply)
        try:
            return from_json(reply.body)
        except ValueError:
            raise self.error(LMMalformedResponseError, "an answer that is no JSON") from None

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
            if self._heed is not None:
                self._heed(answer.response.headers)
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
            answer = error.response
            raise self._status_error(Reply(error.status_code, answer.headers, answer.content)) from None
        except (TimeoutError, openai.APIConnectionError) as error:
            if isinstance(error, (TimeoutError, openai.APITimeoutError)) and not _was_refused(error):
                raise self.error(LMTimeoutError, f"no answer within {self._timeout_seconds:g} s") from None
            reason = str(error.__cause__ or error)
            raise self.error(LMConnectionError, f"cannot reach {self.url}: {reason}") from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            raise self.error(LMMalformedResponseError, f"an unreadable answer ({type(error).__name__})") from None

    def error(
        self, kind: type[LMError], detail: str, *, status: int | None = None, retry_after: float | None = None
    ) -> LMError:
        """An error about a call to this model, free of keys."""
        provider, _, name = self._model.partition("/")
        said = redacted(f"{self._model}: {f'status {status}, ' if status else ''}{detail}")
        return kind(said, provider=provider, model=name, status=status, retry_after=retry_after)

    def _status_error(self, reply: Reply) -> LMError:
        status, (detail, code) = reply.status, _detail(reply.body)
        if status in (401, 403):
            return self.error(LMAuthenticationError, f"the API key was rejected: check {KEY_VARIABLE}", status=status)
        if status == 404:  # noqa: PLR2004 - HTTP
            hint = f"check the model's name and the address {self.url} (it usually ends in /v1)"
            return self.error(LMNotFoundError, f"{detail}; {hint}", status=status)
        kinds: dict[int, type[LMError]] = {429: LMRateLimitError}
        fallback = LMProviderError if status >= 500 or status in _RETRIED else LMRequestError  # noqa: PLR2004 - HTTP
        if status in (400, 413) and _TOO_LONG.search(f"{code} {detail}"):
            fallback = LMContextLengthError
        wait = retry_after(reply.headers)
        return self.error(kinds.get(status, fallback), detail, status=status, retry_after=wait)


def _was_refused(error: BaseException | None) -> bool:
    """Whether no connection came about; the SDK calls that a timeout, too."""
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            return True
        error = error.__cause__
    return False


def _detail(body: bytes) -> tuple[str, str]:
    """What an error's body says, and its code: OpenAI's form, and what compatible servers make of it."""
    try:
        said: Any = from_json(body)
    except ValueError:
        said = body.decode(errors="replace")
    if isinstance(said, dict):
        fields = cast("dict[str, Any]", said)
        said = fields.get("error") or fields.get("message") or fields.get("detail") or fields
    if isinstance(said, dict):
        fields = cast("dict[str, Any]", said)
        return str(fields.get("message") or fields)[:500], str(fields.get("code") or "")
    return str(said or "no reason given")[:500], ""
