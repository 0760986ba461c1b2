from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Protocol

from dspex_core.errors import LMConnectionError, LMError, LMMalformedResponseError, LMRequestError
from dspex_core.lm._capabilities import Capabilities, Lessons
from dspex_core.lm._chat import ChatCompletions
from dspex_core.lm._dialect import AnswerFailed, Dialect
from dspex_core.lm._endpoint import Endpoint
from dspex_core.lm._messages import Messages
from dspex_core.lm._presets import preset_of
from dspex_core.lm._responses import Responses
from dspex_core.seam import LMConfig, LMRequest, LMResponse

Heed = Callable[[Mapping[str, str]], None]

_FOREIGN = (TypeError, AttributeError, KeyError, IndexError, ValueError)


class Provider(Protocol):
    """Sends calls to one model: one attempt each, no retries. Belongs to one event loop from `open` on."""

    @property
    def capabilities(self) -> Capabilities:
        """What the model takes, as far as that is known by now."""
        ...

    async def open(self) -> None:
        """Make the client on the running loop; it is closed with that loop."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...

    async def complete(self, request: LMRequest) -> LMResponse:
        """One attempt at one call.

        Raises:
            LMError: Of the class that says what went wrong; its text never holds the key.
        """
        ...

    def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """One attempt at one call: text as it arrives, and then the response. Raises as `complete` does."""
        ...


def provider_of(config: LMConfig, *, api_key: str | None, heed: Heed | None = None) -> Provider:
    """The provider that a configuration names.

    Args:
        config: The model.
        api_key: The key; None reads the provider's variable.
        heed: Told the headers of every answer.

    Raises:
        ConfigurationError: If there is no such provider, no key, or nothing says where the model is served.
    """
    if preset_of(config.model).api == "anthropic":
        dialect: Dialect = Messages(config)
    elif config.model_type == "responses":
        dialect = Responses(config)
    else:
        dialect = ChatCompletions(config)
    return HttpProvider(config, dialect, api_key=api_key, heed=heed)


class HttpProvider:
    """A model behind one of the APIs that dialects are written for.

    What the model refuses of a request, a temperature or a form of structured output, it is not asked for again.

    Args:
        config: The model.
        dialect: Its API.
        api_key: The key; None reads the provider's variable.
        heed: Told the headers of every answer.

    Raises:
        ConfigurationError: If there is no key.
    """

    def __init__(self, config: LMConfig, dialect: Dialect, *, api_key: str | None, heed: Heed | None = None) -> None:
        self._endpoint = Endpoint(config, api_key=api_key, heed=heed)
        self._dialect = dialect
        self._lessons = Lessons(config, dialect.forms)

    @property
    def capabilities(self) -> Capabilities:
        """What the model takes, as far as that is known by now."""
        return self._lessons.known

    async def open(self) -> None:
        """Make the client on the running loop; it is closed with that loop."""
        await self._endpoint.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def complete(self, request: LMRequest) -> LMResponse:
        """One attempt at one call."""
        asked = self.capabilities
        while True:
            body = self._dialect.body(request, asked, stream=False)
            try:
                answer = await self._endpoint.post(self._dialect.path, body)
            except LMRequestError as error:
                asked = self._lessons.after(asked, request, error)
                continue
            self._lessons.confirm(asked)
            try:
                return self._dialect.response(answer)
            except AnswerFailed as failed:
                raise self._endpoint.failure(failed.detail, code=failed.code) from None
            except _FOREIGN:
                # A server may send any JSON under status 200.
                raise self._malformed() from None

    async def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """One attempt at one call: text as it arrives, and then the response."""
        asked = self.capabilities
        while True:
            said = False
            try:
                async with aclosing(self._pieces(request, asked)) as pieces:
                    async for piece in pieces:
                        said = True
                        self._lessons.confirm(asked)
                        yield piece
            except LMRequestError as error:
                if said:
                    raise
                asked = self._lessons.after(asked, request, error)
            else:
                return

    async def _pieces(self, request: LMRequest, asked: Capabilities) -> AsyncGenerator[str | LMResponse]:
        reader = self._dialect.reader()
        body = self._dialect.body(request, asked, stream=True)
        async with aclosing(self._endpoint.stream(self._dialect.path, body)) as arriving:
            async for event in arriving:
                try:
                    piece = reader.read(event)
                except AnswerFailed as failed:
                    raise self._endpoint.failure(failed.detail, code=failed.code) from None
                except _FOREIGN:
                    raise self._malformed() from None
                if piece:
                    yield piece
        try:
            response = reader.response()
        except _FOREIGN:
            raise self._malformed() from None
        if response is None:
            raise self._endpoint.error(LMConnectionError, "the stream ended before the answer did")
        yield response

    def _malformed(self) -> LMError:
        return self._endpoint.error(LMMalformedResponseError, "an answer without what its API promises")
