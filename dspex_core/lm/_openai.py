from typing import Any

from dspex_core.errors import LMMalformedResponseError
from dspex_core.lm._endpoint import OpenAIEndpoint
from dspex_core.lm._prices import cost_usd
from dspex_core.seam import LMConfig, LMRequest, LMResponse
from dspex_core.usage import Usage


class OpenAIProvider:
    """Chat completions of OpenAI, or of any server that speaks OpenAI's API.

    Args:
        config: Model and endpoint.
        api_key: The key; None reads OPENAI_API_KEY.

    Raises:
        ConfigurationError: If there is no key.
    """

    def __init__(self, config: LMConfig, api_key: str | None) -> None:
        self._config = config
        self._endpoint = OpenAIEndpoint(
            config.model, config.api_base, api_key=api_key, timeout_seconds=config.timeout_seconds
        )

    async def open(self) -> None:
        """Make the client on the running loop; it is closed with that loop."""
        await self._endpoint.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def complete(self, request: LMRequest) -> LMResponse:
        """One attempt at one call.

        Raises:
            LMError: Of the class that says what went wrong; its text never holds the key.
        """
        return self._response(await self._endpoint.post("/chat/completions", self._body(request)))

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
            raise self._endpoint.error(LMMalformedResponseError, "an answer without choices or usage") from None
