import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from dspex_core.errors import ConfigurationError
from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._chat import ChatCompletions
from dspex_core.testing.fake_provider._embeddings import Embeddings
from dspex_core.testing.fake_provider._exchange import Api, Exchange, Refusal
from dspex_core.testing.fake_provider._faults import FaultPlan
from dspex_core.testing.fake_provider._mind import Mind
from dspex_core.testing.fake_provider._script import Script
from dspex_core.testing.fake_provider._settings import ProviderSettings
from dspex_core.testing.fake_provider._stats import Ledger, ProviderStats
from dspex_core.testing.fake_provider._writing import write_body, write_stream

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LARGEST_BODY_BYTES = 64 * 1024 * 1024
_SLOW_FACTOR = 20
_CLOSING_SECONDS = 0.5


class FakeProvider(ProviderSettings):
    """A model provider on loopback that speaks OpenAI's API; its model learns from the prompt alone.

    It keeps nothing between requests but counts: equal requests get equal answers. Use it as
    `async with FakeProvider(latency_ms=50) as provider: …`, or `start` and `stop` it; the arguments are those of
    `ProviderSettings`. All of it belongs to one event loop; `FakeProviderProcess` runs it beside yours.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._ledger = Ledger()
        self._plan = FaultPlan(self.seed, self.fault_rate, tuple(self.fault_kinds))
        self._mind = Mind(Script(self.script))
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        """Where OpenAI's API is served, with `/v1` at its end.

        Raises:
            ConfigurationError: The provider is not running.
        """
        if self._runner is None:
            raise ConfigurationError("the fake provider is not running: start it first, or enter it with `async with`")
        return f"http://{self.host}:{self._runner.addresses[0][1]}/v1"

    def stats(self) -> ProviderStats:
        """What it has met since it started or was last reset."""
        return self._ledger.stats()

    def reset(self) -> None:
        """Set every count to zero, those of attempts included: faults come as if it had just started."""
        self._ledger.reset()
        self._plan.forget()

    async def start(self) -> None:
        """Listen; returns once requests are answered.

        Raises:
            ConfigurationError: The address cannot be listened on.
        """
        app = web.Application(client_max_size=_LARGEST_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._at(ChatCompletions(structured_output=self.structured_output)))
        app.router.add_post("/v1/embeddings", self._at(Embeddings()))
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._serve_stats)
        app.router.add_post("/reset", self._serve_reset)
        app.router.add_post("/script", self._serve_script)
        # A client that goes away ends its request: it must neither stay in flight nor count as answered.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_CLOSING_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port, backlog=1024).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(
                f"cannot listen on {self.host}:{self.port} ({error.strerror}): choose another port, or 0 for a free one"
            ) from error
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening; requests still in flight have half a second to end."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def serve_forever(
        self, announce: Callable[[str], object] | None = None, *, until: asyncio.Event | None = None
    ) -> None:
        """Serve until SIGINT or SIGTERM arrives; for the main thread of a process of its own.

        Args:
            announce: Gets the one line `listening on URL` when requests are answered; by default it goes to stdout.
            until: Ends the serving when set.
        """
        stopping = until or asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        async with self:
            (announce or _print_line)(f"listening on {self.base_url}")
            await stopping.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _at(self, api: Api) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, api)

        return handle

    async def _serve(self, request: web.Request, api: Api) -> web.StreamResponse:
        self._ledger.requests += 1
        if refusal := self._refused_key(request):
            return api.refuse(refusal)
        exchange = api.read(await request.read())
        if isinstance(exchange, Refusal):
            return api.refuse(exchange)
        self._ledger.note_content(exchange.content)
        if self.capacity is not None and self._ledger.in_flight >= self.capacity:
            self._ledger.faults["capacity"] += 1
            message = f"The provider is full: it works on {self.capacity} requests at a time."
            return self._rate_limited(api, message)
        with self._ledger.working():
            fault = self._plan.next_fault(exchange.content)
            if fault is not None:
                self._ledger.faults[fault] += 1
            await self._wait(fault)
            if fault is not None and fault != "slow":
                return self._fail(request, api, exchange, fault)
            return await self._answer(request, exchange)

    async def _wait(self, fault: str | None) -> None:
        latency_seconds = self.latency_ms / 1000
        if fault == "slow":
            await asyncio.sleep(max(_SLOW_FACTOR * latency_seconds, self.slow_seconds))
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
        response.headers["Retry-After"] = f"{self.retry_after_seconds:g}"
        return response

    async def _answer(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        answer = exchange.answer(self._mind, self.chunk_characters)
        if exchange.stream:
            response = await write_stream(request, answer, self._ledger, chunk_seconds=self.chunk_latency_ms / 1000)
        else:
            response = await write_body(request, answer.body)
        self._ledger.note_answer(
            exchange.content, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens
        )
        return response

    def _refused_key(self, request: web.Request) -> Refusal | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return Refusal(401, "You didn't provide an API key: send it as `Authorization: Bearer YOUR_KEY`.")
        if self.api_key is not None and token != self.api_key:
            message = "Incorrect API key provided: send the one that this provider was started with."
            return Refusal(401, message, code="invalid_api_key")
        return None

    async def _models(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refused_key(request)
        return _openai.model_list() if refusal is None else _openai.refuse(refusal)

    async def _serve_stats(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(text=self.stats().model_dump_json())

    async def _serve_reset(self, _request: web.Request) -> web.StreamResponse:
        self.reset()
        return web.json_response(text=self.stats().model_dump_json())

    async def _serve_script(self, request: web.Request) -> web.StreamResponse:
        try:
            self._mind.script = Script.read(await request.read())
        except ConfigurationError as error:
            return _openai.refuse(Refusal(400, str(error)))
        return web.json_response({"rules": len(self._mind.script.rules)})


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
