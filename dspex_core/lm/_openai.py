from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from dspex_core import events
from dspex_core.errors import LMConnectionError, LMContextLengthError, LMMalformedResponseError, LMRequestError
from dspex_core.lm._chat_body import FORMATS, chat_body, chat_usage, tool_uses
from dspex_core.lm._endpoint import OpenAIEndpoint
from dspex_core.seam import LMConfig, LMRequest, LMResponse

_PATH = "/chat/completions"


class OpenAIProvider:
    """Chat completions of OpenAI, or of any server that speaks OpenAI's API.

    Args:
        config: Model and endpoint.
        api_key: The key; None reads OPENAI_API_KEY.
        heed: Told the headers of every answer.

    Raises:
        ConfigurationError: If there is no key.
    """

    def __init__(
        self, config: LMConfig, api_key: str | None, *, heed: Callable[[Mapping[str, str]], None] | None = None
    ) -> None:
        self._config = config
        self._endpoint = OpenAIEndpoint(
            config.model, config.api_base, api_key=api_key, timeout_seconds=config.timeout_seconds, heed=heed
        )
        self._format = FORMATS[0]
        self._tells_usage = False

    async def open(self) -> None:
        """Make the client on the running loop; it is closed with that loop."""
        await self._endpoint.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def complete(self, request: LMRequest) -> LMResponse:
        """One attempt at one call; a form of structured output that the provider refuses is not asked for again.

        Raises:
            LMError: Of the class that says what went wrong; its text never holds the key.
        """
        form = self._format
        while True:
            try:
                answer = await self._endpoint.post(_PATH, chat_body(self._config, request, form=form))
            except LMRequestError as error:
                form = self._weaker(form, request, error)
            else:
                self._settle(form)
                return self._response(answer)

    async def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """One attempt at one call: text as it arrives, and then the response. Raises as `complete` does."""
        form = self._format
        while True:
            body = chat_body(self._config, request, form=form) | {
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            try:
                async with aclosing(self._pieces(body)) as pieces:
                    async for piece in pieces:
                        self._settle(form)
                        yield piece
            except LMRequestError as error:
                form = self._weaker(form, request, error)
            else:
                return

    async def _pieces(self, body: dict[str, Any]) -> AsyncGenerator[str | LMResponse]:
        text: list[str] = []
        calls: dict[int, dict[str, str]] = {}
        used: Any = None
        finished = False
        async with aclosing(self._endpoint.stream(_PATH, body)) as chunks:
            async for chunk in chunks:
                try:
                    used = chunk.get("usage") or used
                    for choice in (chunk.get("choices") or ())[:1]:
                        delta: dict[str, Any] = choice.get("delta") or {}
                        _collect(calls, delta.get("tool_calls") or ())
                        finished = finished or choice.get("finish_reason") is not None
                        if piece := delta.get("content"):
                            text.append(piece)
                            yield piece
                except (TypeError, AttributeError, KeyError, ValueError):
                    raise self._malformed() from None
        # What a stream took comes last; from a server that tells it, one without it is cut off as well.
        self._tells_usage = self._tells_usage or used is not None
        if not finished or (used is None and self._tells_usage):
            raise self._endpoint.error(LMConnectionError, "the stream ended before the answer did")
        try:
            yield LMResponse(
                text="".join(text), usage=chat_usage(self._config, used), tool_calls=tool_uses(list(calls.values()))
            )
        except (TypeError, AttributeError, KeyError, ValueError):
            raise self._malformed() from None

    def _response(self, answer: Any) -> LMResponse:
        # A server may send any JSON under status 200.
        try:
            message = answer["choices"][0]["message"]
            called = [call["function"] for call in message.get("tool_calls") or ()]
            return LMResponse(
                text=message["content"] or "",
                usage=chat_usage(self._config, answer.get("usage")),
                tool_calls=tool_uses(called),
            )
        except (TypeError, AttributeError, KeyError, IndexError, ValueError):
            raise self._malformed() from None

    def _malformed(self) -> Exception:
        return self._endpoint.error(LMMalformedResponseError, "an answer without choices or usage")

    def _weaker(self, form: str, request: LMRequest, error: LMRequestError) -> str:
        """The next form of structured output to try; the error itself if there is none."""
        weaker = FORMATS[FORMATS.index(form) + 1 :]
        if request.response_format is None or not weaker or isinstance(error, LMContextLengthError):
            raise error
        self._reason = str(error)
        return weaker[0]

    def _settle(self, form: str) -> None:
        if form == self._format:
            return
        refused, self._format = self._format, form
        events.publish(
            events.StructuredOutputRefused(
                model=self._config.model, refused=refused, fallback=form, reason=self._reason
            )
        )


def _collect(calls: dict[int, dict[str, str]], deltas: Any) -> None:
    """Add the pieces of calls to what is known of them."""
    for delta in deltas:
        call = calls.setdefault(delta["index"], {"name": "", "arguments": ""})
        function: dict[str, Any] = delta.get("function") or {}
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""
