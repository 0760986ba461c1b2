import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, urlencode

from pydantic_core import PydanticSerializationError, from_json, to_json

from dspex_core.errors import (
    ConfigurationError,
    LMAuthenticationError,
    LMConnectionError,
    LMError,
    LMMalformedResponseError,
    LMNotFoundError,
    LMQuotaError,
    LMRequestError,
    LMTimeoutError,
    LMUnreachableError,
)
from dspex_core.lm._config import served_at
from dspex_core.lm._http import Connections, Reply, Unreachable, close_with_loop, unreachable
from dspex_core.lm._keys import checked_key
from dspex_core.lm._presets import preset_of
from dspex_core.lm._rates import retry_after
from dspex_core.lm._refusals import kind_of, said_by, said_in
from dspex_core.redaction import redacted
from dspex_core.seam import LMConfig

if TYPE_CHECKING:
    import anthropic
    import openai

    Client = openai.AsyncOpenAI | anthropic.AsyncAnthropic

_T = TypeVar("_T")

_TRANSPORTS = ("httpx", "httpcore", "aiohttp")


class Endpoint:
    """Posts to a provider's API; one attempt, no retries.

    The official SDK, OpenAI's where there is no other, says what is sent with a request (address, key, version); the
    request itself is a bare post, see `Connections`. Belongs to one event loop from `open` on, and is closed with it.

    Args:
        config: Model and address.
        api_key: The key; None reads the provider's variable.
        heed: Told the headers of every answer, in small letters; they say how much the provider still allows.

    Raises:
        ConfigurationError: If there is no key, or nothing says where the model is served.
    """

    def __init__(
        self,
        config: LMConfig,
        *,
        api_key: str | None,
        heed: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        self._preset = preset_of(config.model)
        variable = self._preset.key_variable
        key = api_key or checked_key(os.environ.get(variable), model=config.model, source=variable)
        if not key and self._preset.needs_key:
            raise ConfigurationError(
                f"no API key for {config.model}: set {variable} (a server that checks none takes any value)"
            )
        # The SDKs send nothing without a key, and a server that checks none reads none.
        self._key = key or "none"
        self.url = served_at(config)
        self._config = config
        self._model = config.model
        self._timeout_seconds = config.timeout_seconds
        self._heed = heed
        self._closer: AsyncGenerator[None, None] | None = None

    async def open(self) -> None:
        """Make the client on the running loop; it is closed with that loop."""
        # The SDKs take a second to import, so each is imported where the first call is made.
        if self._preset.api == "anthropic":
            import anthropic as sdk  # noqa: PLC0415
        else:
            import openai as sdk  # noqa: PLC0415

        self._sdk: Any = sdk
        client = self._new_client()
        # What the SDK leaves out of a request is no text.
        given: dict[str, object] = {**client.default_headers, **client.auth_headers}
        headers = {
            name: value
            for name, value in given.items()
            # The SDK's account of itself is true only of requests that it sends.
            if isinstance(value, str) and not name.lower().startswith("x-stainless-")
        }
        asked = urlencode(client.default_query)
        self._base, self._query = str(client.base_url).rstrip("/"), f"?{asked}" if asked else ""
        connections = Connections(headers, timeout_seconds=self._timeout_seconds)
        self._client, self._connections = client, connections

        async def close() -> None:
            try:
                await connections.close()
            finally:
                # A loop that ends cancels this: once, so the second is still closed.
                await client.close()

        self._closer = await close_with_loop(self, close)
        await connections.open(self.url)

    def _new_client(self) -> "Client":
        http = self._sdk.DefaultAioHttpClient(timeout=self._timeout_seconds, follow_redirects=False)
        options: dict[str, Any] = {
            "api_key": self._key,
            "base_url": self.url,
            "max_retries": 0,
            "timeout": self._timeout_seconds,
            "http_client": http,
        }
        if self._preset.api == "anthropic":
            return self._sdk.AsyncAnthropic(**options)
        if self._preset.api == "openai":
            return self._sdk.AsyncOpenAI(**options)
        deployed = "" if self._config.model_type == "responses" else f"/deployments/{quote(self._config.name, safe='')}"
        options["base_url"] = f"{self.url}/openai{deployed}"
        return self._sdk.AsyncAzureOpenAI(**options, api_version=self._config.api_version)

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
            reply = await self._connections.post(f"{self._base}{path}{self._query}", sent)
        except Unreachable as error:
            raise self._unreachable(error) from None
        if self._heed is not None:
            self._heed(reply.headers)
        if not 200 <= reply.status < 300:  # noqa: PLR2004 - HTTP
            raise self._status_error(reply)
        # The second reader is slower, and takes half surrogate pairs, which a model may write.
        for read in (from_json, json.loads):
            with suppress(ValueError):
                return read(reply.body)
        raise self.error(LMMalformedResponseError, "an answer that is no JSON")

    async def call(self, work: "Callable[[openai.AsyncOpenAI], Awaitable[_T]]") -> _T:
        """One attempt at a rare call, made with OpenAI's SDK itself. Raises as `post` does."""
        with _alone(), self._as_ours():
            return await work(cast("openai.AsyncOpenAI", self._client))

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[Any]:
        """One attempt at one call: the JSON of the answer's server-sent events, as they arrive.

        Raises:
            LMError: As `post` does; also in the middle.
        """
        with _alone(), self._as_ours():
            answer: Any = await self._client.post(
                path, cast_to=object, body=body, stream=True, stream_cls=self._sdk.AsyncStream[object]
            )
            if self._heed is not None:
                self._heed(answer.response.headers)
            async with answer:
                async for event in answer:
                    yield event

    @contextmanager
    def _as_ours(self) -> Generator[None]:
        """Turn the SDK's errors into ours."""
        sdk = self._sdk
        try:
            yield
        except (TimeoutError, sdk.APIConnectionError) as error:
            raise self._unreachable(unreachable(error)) from None
        except sdk.APIResponseValidationError:
            raise self.error(LMMalformedResponseError, "an answer without what its API promises") from None
        except sdk.APIError as error:
            # `from None`: the SDK's own error quotes headers and bodies, and a workflow history would keep it.
            raise self._api_error(error) from None
        except (ValueError, TypeError, AttributeError):
            raise self.error(LMMalformedResponseError, "an answer that cannot be read") from None
        except Exception as error:
            # In the middle of a stream, an SDK may let the errors of its transport through as they are.
            if not type(error).__module__.startswith(_TRANSPORTS):
                raise
            raise self._unreachable(unreachable(error)) from None

    def error(
        self, kind: type[LMError], detail: str, *, status: int | None = None, retry_after: float | None = None
    ) -> LMError:
        """An error about a call to this model, free of keys."""
        provider, _, name = self._model.partition("/")
        said = redacted(f"{self._model}: {f'status {status}, ' if status else ''}{detail}")
        return kind(said, provider=provider, model=name, status=status, retry_after=retry_after)

    def failure(
        self, detail: str, *, code: str, status: int | None = None, retry_after: float | None = None
    ) -> LMError:
        """The error that a provider's own words stand for.

        Args:
            detail: What it says.
            code: Its word for the kind of error.
            status: HTTP status; None if the error came with an answer that had begun well.
            retry_after: Seconds it asks to wait.
        """
        kind = kind_of(detail, code=code, status=status, asks_to_wait=retry_after is not None)
        if kind is LMAuthenticationError:
            # A provider that refuses a key may quote it.
            lacks = f"{detail}; the API key lacks the right" if status == 403 else "the API key was rejected"  # noqa: PLR2004 - HTTP
            detail = f"{lacks}: check {self._preset.key_variable}"
        elif kind is LMNotFoundError:
            usual = "" if self._preset.api == "anthropic" else " (it usually ends in /v1)"
            detail = f"{detail}; check the model's name and the address {self.url}{usual}"
        elif kind is LMQuotaError:
            detail = f"{detail}; the account's quota is spent"
        return self.error(kind, detail, status=status, retry_after=retry_after)

    def _unreachable(self, met: Unreachable) -> LMError:
        if met.timed_out:
            return self.error(LMTimeoutError, f"no answer within {self._timeout_seconds:g} s")
        kind = LMUnreachableError if met.refused else LMConnectionError
        return self.error(kind, f"cannot reach {self.url}: {met}" if met.refused else f"{self.url}: {met}")

    def _status_error(self, reply: Reply) -> LMError:
        if reply.status < 400:  # noqa: PLR2004 - HTTP
            target = reply.headers.get("location", "").partition("?")[0][:200]
            hint = f"{self.url} redirects to {target or 'nowhere'}, where no key is sent; if that is right, name it"
            return self.error(LMNotFoundError, hint, status=reply.status)
        detail, code = said_in(reply.body)
        return self.failure(detail, code=code, status=reply.status, retry_after=retry_after(reply.headers))

    def _api_error(self, error: Any) -> LMError:
        answer = getattr(error, "response", None)
        # In the middle of a stream, Anthropic's SDK gives the status of the stream.
        if answer is not None and answer.status_code >= 300:  # noqa: PLR2004 - HTTP
            return self._status_error(Reply(answer.status_code, answer.headers, answer.content))
        detail, code = said_by(error.body) if error.body else (str(error.message), "")
        return self.failure(detail, code=code)


@contextmanager
def _alone() -> Generator[None]:
    """Let an error of ours go without the SDK's that it was made of, which quotes what was sent and answered."""
    try:
        yield
    except LMError as error:
        error.__context__ = None
        raise
