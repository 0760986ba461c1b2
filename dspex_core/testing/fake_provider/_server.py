import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from aiohttp import web
from pydantic import ValidationError

from dspex_core.errors import ConfigurationError
from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._embeddings import EmbeddingCall, embeddings, read_embedding_call
from dspex_core.testing.fake_provider._faults import FaultPlan
from dspex_core.testing.fake_provider._learner import Sampling, reply
from dspex_core.testing.fake_provider._prompt import read_conversation
from dspex_core.testing.fake_provider._script import Script
from dspex_core.testing.fake_provider._settings import ProviderSettings
from dspex_core.testing.fake_provider._stats import Ledger, ProviderStats

_LARGEST_BODY_BYTES = 64 * 1024 * 1024
_SLOW_FACTOR = 20
_CLOSING_SECONDS = 0.5


@dataclass(frozen=True)
class _Call:
    """One request, checked, and the digest of its JSON content."""

    chat: _openai.ChatRequest
    content: bytes
    salt: str


_AnyCall = TypeVar("_AnyCall", _Call, EmbeddingCall)


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
        self._script = Script(self.script)
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
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
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

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, _read_call, self._answer)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, read_embedding_call, self._embed)

    async def _serve(
        self,
        request: web.Request,
        read: Callable[[bytes], _AnyCall | web.Response],
        answer: Callable[[web.Request, _AnyCall], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        self._ledger.requests += 1
        if refused := self._refused_key(request):
            return refused
        call = read(await request.read())
        if isinstance(call, web.Response):
            return call
        self._ledger.note_content(call.content)
        if self.capacity is not None and self._ledger.in_flight >= self.capacity:
            self._ledger.faults["capacity"] += 1
            return _openai.too_many_requests(
                f"The provider is full: it works on {self.capacity} requests at a time.", self.retry_after_seconds
            )
        with self._ledger.working():
            fault = self._plan.next_fault(call.content)
            if fault is not None:
                self._ledger.faults[fault] += 1
            await self._wait(fault)
            if fault is not None and fault != "slow":
                return self._fail(request, call.content, fault)
            return await answer(request, call)

    async def _wait(self, fault: str | None) -> None:
        latency_seconds = self.latency_ms / 1000
        if fault == "slow":
            await asyncio.sleep(max(_SLOW_FACTOR * latency_seconds, self.slow_seconds))
        elif latency_seconds:
            await asyncio.sleep(latency_seconds)

    def _fail(self, request: web.Request, content: bytes, fault: str) -> web.Response:
        if fault == "429":
            return _openai.too_many_requests("Rate limit reached: try again later.", self.retry_after_seconds)
        if fault == "500":
            return _openai.refusal(500, "The server had an error while processing the request.", kind="server_error")
        if fault == "malformed":
            body = _openai.malformed(content_id=content.hex(), broken_json=bool(content[0] % 2))
            return web.Response(body=body, content_type="application/json")
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _answer(self, request: web.Request, call: _Call) -> web.StreamResponse:
        texts = [(message.role, message.text()) for message in call.chat.messages]
        asked = next((text for role, text in reversed(texts) if role == "user"), "")
        answer = self._script.answer(asked)
        if answer is None:
            answer = reply(read_conversation(texts), Sampling(call.salt, call.chat.temperature or 0.0))
        prompt_tokens = sum(_openai.tokens(text) for _, text in texts)
        body, completion_tokens = _openai.completion(
            content_id=call.content.hex(), model=call.chat.model, answer=answer, prompt_tokens=prompt_tokens
        )
        response = web.Response(body=body, content_type="application/json")
        await _write_wholly(request, response)
        self._ledger.note_answer(call.content, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        return response

    async def _embed(self, request: web.Request, call: EmbeddingCall) -> web.StreamResponse:
        body, tokens = embeddings(call.embedding)
        response = web.Response(body=body, content_type="application/json")
        await _write_wholly(request, response)
        self._ledger.note_answer(call.content, prompt_tokens=tokens, completion_tokens=0)
        return response

    def _refused_key(self, request: web.Request) -> web.Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return _openai.unauthorized(key_sent=False)
        if self.api_key is not None and token != self.api_key:
            return _openai.unauthorized(key_sent=True)
        return None

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return self._refused_key(request) or _openai.model_list()

    async def _serve_stats(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(text=self.stats().model_dump_json())

    async def _serve_reset(self, _request: web.Request) -> web.StreamResponse:
        self.reset()
        return web.json_response(text=self.stats().model_dump_json())

    async def _serve_script(self, request: web.Request) -> web.StreamResponse:
        try:
            self._script = Script.read(await request.read())
        except ConfigurationError as error:
            return _openai.bad_request(str(error))
        return web.json_response({"rules": len(self._script.rules)})


async def _write_wholly(request: web.Request, response: web.Response) -> None:
    """Return once the operating system has every byte of the response; raise ConnectionError if the client has gone."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    cast("asyncio.WriteTransport", transport).set_write_buffer_limits(high=0)
    await response.prepare(request)
    await response.write_eof()
    if transport.is_closing():
        raise ConnectionResetError("the client has gone")


def _read_call(raw: bytes) -> _Call | web.Response:
    try:
        body: Any = json.loads(raw)
        chat = _openai.ChatRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        return _openai.bad_request(f"Invalid request at `{'.'.join(map(str, first['loc']))}`: {first['msg']}.")
    except ValueError:
        return _openai.bad_request("The body of your request is not valid JSON.")
    if chat.stream:
        return _openai.bad_request("`stream` is not served: leave it out or set it to false.")
    if chat.n not in (None, 1):
        return _openai.bad_request("`n` above 1 is not served: send the request once per answer.")
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    salt = json.dumps({key: value for key, value in body.items() if key != "messages"}, sort_keys=True)
    return _Call(chat, hashlib.blake2b(canonical.encode(), digest_size=16).digest(), salt)


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
