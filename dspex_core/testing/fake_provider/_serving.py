"""The life of one request to the model: refused, disturbed or answered, and counted."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._exchange import Api, Exchange, Refusal, bearer_key
from dspex_core.testing.fake_provider._faults import FaultPlan
from dspex_core.testing.fake_provider._mind import Mind
from dspex_core.testing.fake_provider._settings import ProviderSettings
from dspex_core.testing.fake_provider._stats import Ledger
from dspex_core.testing.fake_provider._writing import write_body, write_stream

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SLOW_FACTOR = 20


class Service:
    """Serves requests of any API, and counts them. Belongs to one event loop.

    Args:
        settings: How it behaves.
        mind: What answers.
    """

    def __init__(self, settings: ProviderSettings, mind: Mind) -> None:
        self._settings = settings
        self._mind = mind
        self.ledger = Ledger()
        self.plan = FaultPlan(settings.seed, settings.fault_rate, tuple(settings.fault_kinds))

    def at(self, api: Api) -> Handler:
        """What answers an API's requests."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, api)

        return handle

    async def _serve(self, request: web.Request, api: Api) -> web.StreamResponse:
        self.ledger.requests += 1
        if refusal := self.refused_key(api.key(request.headers)):
            return api.refuse(refusal)
        exchange = api.read(await request.read())
        if isinstance(exchange, Refusal):
            return api.refuse(exchange)
        if not self._mind.knows(exchange.model):
            text = f"The model `{exchange.model}` does not exist or you do not have access to it."
            return api.refuse(Refusal(404, text, code="model_not_found"))
        self.ledger.note_content(exchange.content)
        if self._settings.capacity is not None and self.ledger.in_flight >= self._settings.capacity:
            self.ledger.faults["capacity"] += 1
            message = f"The provider is full: it works on {self._settings.capacity} requests at a time."
            return self._rate_limited(api, message)
        with self.ledger.working():
            fault = self.plan.next_fault(exchange.content)
            if fault is not None:
                self.ledger.faults[fault] += 1
            await self._wait(fault)
            if fault is not None and fault != "slow":
                return self._fail(request, api, exchange, fault)
            return await self._answer(request, api, exchange)

    async def _wait(self, fault: str | None) -> None:
        latency_seconds = self._settings.latency_ms / 1000
        if fault == "slow":
            await asyncio.sleep(max(_SLOW_FACTOR * latency_seconds, self._settings.slow_seconds))
        elif latency_seconds:
            await asyncio.sleep(latency_seconds)

    def _fail(self, request: web.Request, api: Api, exchange: Exchange, fault: str) -> web.Response:
        if fault == "429":
            return self._rate_limited(api, "Rate limit reached: try again later.")
        if fault == "500":
            return api.refuse(Refusal(500, "The server had an error while processing the request."))
        if fault == "malformed":
            body = exchange.malformed(broken_json=bool(exchange.content[0] % 2))
            return web.Response(body=body, content_type="application/json")
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _rate_limited(self, api: Api, message: str) -> web.Response:
        response = api.refuse(Refusal(429, message, code="rate_limit_exceeded"))
        response.headers["Retry-After"] = f"{self._settings.retry_after_seconds:g}"
        return response

    async def _answer(self, request: web.Request, api: Api, exchange: Exchange) -> web.StreamResponse:
        answer = exchange.answer(self._mind, self._settings.chunk_characters)
        if exchange.stream:
            response = await write_stream(
                request, answer, self.ledger, chunk_seconds=self._settings.chunk_latency_ms / 1000
            )
        else:
            response = await write_body(request, answer.body)
        self.ledger.note_answer(exchange.content, api.name, answer.usage)
        return response

    @web.middleware
    async def check_key(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse requests without the right key to those of OpenAI's endpoints that no `Api` stands for."""
        guarded = request.path.startswith(("/v1/files", "/v1/fine_tuning", "/v1/models"))
        refusal = self.refused_key(bearer_key(request.headers)) if guarded else None
        return await handler(request) if refusal is None else _openai.refuse(refusal)

    def refused_key(self, key: str | None) -> Refusal | None:
        """Why a request with this key is not served."""
        if key is None:
            return Refusal(401, "You didn't provide an API key: send it as `Authorization: Bearer YOUR_KEY`.")
        if self._settings.api_key is not None and key != self._settings.api_key:
            message = "Incorrect API key provided: send the one that this provider was started with."
            return Refusal(401, message, code="invalid_api_key")
        return None
