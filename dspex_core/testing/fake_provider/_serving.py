"""The life of one request to the model: refused, disturbed or answered, and counted."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._disturbance import Step, disturbed
from dspex_core.testing.fake_provider._exchange import STREAM_FAILED, Api, Exchange, Refusal, bearer_key
from dspex_core.testing.fake_provider._faults import FaultPlan
from dspex_core.testing.fake_provider._mind import Mind
from dspex_core.testing.fake_provider._rate_limits import RateLimits
from dspex_core.testing.fake_provider._settings import ProviderSettings
from dspex_core.testing.fake_provider._stats import Ledger
from dspex_core.testing.fake_provider._writing import write_body, write_half, write_stream

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SLOW_FACTOR = 20
_BYTES_PER_TOKEN = 4
_INSTEAD = frozenset({"429", "500", "overloaded", "drop"})


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
        self.limits = RateLimits(settings.requests_per_minute, settings.tokens_per_minute)
        self._changed = asyncio.Event()

    def follow_settings(self) -> None:
        """Take over settings that have changed."""
        self.plan.rate, self.plan.kinds = self._settings.fault_rate, tuple(self._settings.fault_kinds)
        self.limits.set(self._settings.requests_per_minute, self._settings.tokens_per_minute)
        self._changed.set()
        self._changed = asyncio.Event()

    def at(self, api: Api) -> Handler:
        """What answers an API's requests."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, api)

        return handle

    async def _serve(self, request: web.Request, api: Api) -> web.StreamResponse:
        self.ledger.requests += 1
        raw = await request.read()
        exchange = self._read(request, api, raw)
        if isinstance(exchange, Refusal):
            return api.refuse(exchange)
        self.ledger.note_content(exchange.content)
        if refused := self._crowded_out(api, len(raw)):
            return refused
        with self.ledger.working():
            if down := await self._be_down(request, api.refuse):
                return down
            fault = self.plan.next_fault(exchange.content, stream=exchange.stream)
            if fault is not None:
                self.ledger.faults[fault] += 1
            late = fault == "slow" and not exchange.stream
            await asyncio.sleep(self._slow_seconds() if late else self._settings.latency_ms / 1000)
            if fault in _INSTEAD or (fault == "malformed" and not exchange.stream):
                return self._fail(request, api, exchange, fault)
            return await self._answer(request, api, exchange, fault)

    def _read(self, request: web.Request, api: Api, raw: bytes) -> Exchange | Refusal:
        if refusal := self.refused_key(api.key(request.headers)):
            return refusal
        exchange = api.read(raw)
        if isinstance(exchange, Refusal) or self._mind.knows(exchange.model):
            return exchange
        text = f"The model `{exchange.model}` does not exist or you do not have access to it."
        return Refusal(404, text, code="model_not_found")

    def _crowded_out(self, api: Api, size: int) -> web.Response | None:
        """The answer to a request that is one too many."""
        capacity = self._settings.capacity
        if capacity is not None and self.ledger.in_flight >= capacity:
            self.ledger.faults["capacity"] += 1
            message = f"The provider is full: it works on {capacity} requests at a time."
            return self._rate_limited(api, message, self._settings.retry_after_seconds)
        wait_seconds = self.limits.admit(math.ceil(size / _BYTES_PER_TOKEN), time.monotonic())
        if wait_seconds is None:
            return None
        self.ledger.faults["rate limit"] += 1
        return self._rate_limited(api, "Rate limit reached: too much within a minute.", wait_seconds)

    async def _be_down(self, request: web.Request, refuse: Callable[[Refusal], web.Response]) -> web.Response | None:
        """What an outage answers, if there is one; a request that hangs is served when it is over."""
        if self._settings.outage is None:
            return None
        self.ledger.faults["outage"] += 1
        if self._settings.outage == "hang":
            await self._changed.wait()
            return await self._be_down(request, refuse)
        if self._settings.outage == "drop":
            return _dropped(request)
        return refuse(Refusal(503, "The server is down for now."))

    def _slow_seconds(self) -> float:
        return max(_SLOW_FACTOR * self._settings.latency_ms / 1000, self._settings.slow_seconds)

    def _fail(self, request: web.Request, api: Api, exchange: Exchange, fault: str) -> web.Response:
        if fault == "429":
            message = "Rate limit reached: try again later."
            return self._rate_limited(api, message, self._settings.retry_after_seconds)
        if fault == "500":
            return api.refuse(STREAM_FAILED)
        if fault == "overloaded":
            return api.refuse(Refusal(503, "Overloaded"))
        if fault == "malformed":
            body = exchange.malformed(broken_json=bool(exchange.content[0] % 2))
            return web.Response(body=body, content_type="application/json")
        return _dropped(request)

    def _rate_limited(self, api: Api, message: str, wait_seconds: float) -> web.Response:
        response = api.refuse(Refusal(429, message, code="rate_limit_exceeded"))
        response.headers["Retry-After"] = f"{wait_seconds:.3f}".rstrip("0").rstrip(".")
        if self._settings.retry_after_format == "date":
            # A date has whole seconds: the next one is the first that is late enough.
            moment = datetime.now(UTC) + timedelta(seconds=math.ceil(wait_seconds))
            response.headers["Retry-After"] = format_datetime(moment, usegmt=True)
        return response

    async def _answer(
        self, request: web.Request, api: Api, exchange: Exchange, fault: str | None
    ) -> web.StreamResponse:
        answer = exchange.answer(self._mind, self._settings.chunk_characters)
        if exchange.stream:
            steps: Iterable[Step] = answer.events
            if fault is not None:
                steps = disturbed(exchange, list(answer.events), fault, stall_seconds=self._slow_seconds())
            pace = self._settings.chunk_latency_ms / 1000
            response = await write_stream(request, steps, self.ledger, chunk_seconds=pace)
        elif fault == "cut":
            response = await write_half(request, answer.body)
        else:
            response = await write_body(request, answer.body)
        if fault in (None, "slow"):
            self.ledger.note_answer(exchange.content, api.name, answer.usage)
        return response

    async def tell_limits(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put what is left of the rate limits into an answer's headers."""
        if request.path == "/v1/messages":
            response.headers.update(self.limits.anthropic_headers(time.monotonic()))
        elif request.path.startswith("/v1/"):
            response.headers.update(self.limits.openai_headers(time.monotonic()))

    def guarded(self, routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
        """OpenAI's endpoints that no `Api` stands for, behind the same check of keys and down in outages, too."""
        return [web.RouteDef(each.method, each.path, self._with_key(each.handler), each.kwargs) for each in routes]

    def _with_key(self, handler: Any) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if refusal := self.refused_key(bearer_key(request.headers)):
                return _openai.refuse(refusal)
            return await self._be_down(request, _openai.refuse) or await handler(request)

        return handle

    def refused_key(self, key: str | None) -> Refusal | None:
        """Why a request with this key is not served."""
        if key is None:
            return Refusal(401, "You didn't provide an API key: send it as `Authorization: Bearer YOUR_KEY`.")
        if self._settings.api_key is not None and key != self._settings.api_key:
            message = "Incorrect API key provided: send the one that this provider was started with."
            return Refusal(401, message, code="invalid_api_key")
        return None


def _dropped(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
