import asyncio
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from dspex_core.errors import ConfigurationError, InputError
from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._change import SettingsChange
from dspex_core.testing.fake_provider._chat import ChatCompletions
from dspex_core.testing.fake_provider._embeddings import Embeddings
from dspex_core.testing.fake_provider._exchange import Api, Refusal
from dspex_core.testing.fake_provider._files import Files
from dspex_core.testing.fake_provider._fine_tuning import FineTuning
from dspex_core.testing.fake_provider._messages import Messages
from dspex_core.testing.fake_provider._mind import Mind
from dspex_core.testing.fake_provider._prompt_cache import PromptCache
from dspex_core.testing.fake_provider._responses import Responses
from dspex_core.testing.fake_provider._script import Script
from dspex_core.testing.fake_provider._serving import Service
from dspex_core.testing.fake_provider._settings import ProviderSettings
from dspex_core.testing.fake_provider._stats import ProviderStats

_LARGEST_BODY_BYTES = 64 * 1024 * 1024
_CLOSING_SECONDS = 0.5


class FakeProvider(ProviderSettings):
    """A model provider on loopback that speaks OpenAI's and Anthropic's APIs; its model learns from the prompt alone.

    It keeps nothing between requests but counts, files and what is cached of prompts: equal requests get equal answers.
    Use it as `async with FakeProvider(latency_ms=50) as provider: …`, or `start` and `stop` it; the arguments are those
    of `ProviderSettings`. All of it belongs to one event loop; `FakeProviderProcess` runs it beside yours.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._files = Files()
        self._fine_tuning = FineTuning(self._files, polls=self.fine_tuning_polls)
        self._mind = Mind(Script(self.script), self._fine_tuning.models)
        self._prompt_cache = PromptCache()
        self._service = Service(self, self._mind)
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        """Where OpenAI's API is served, with `/v1` at its end.

        Raises:
            ConfigurationError: The provider is not running.
        """
        return f"{self.root_url}/v1"

    @property
    def root_url(self) -> str:
        """Where Anthropic's API is served, as its SDK wants it: without a path.

        Raises:
            ConfigurationError: The provider is not running.
        """
        if self._runner is None:
            raise ConfigurationError("the fake provider is not running: start it first, or enter it with `async with`")
        return f"http://{self.host}:{self._runner.addresses[0][1]}"

    def stats(self) -> ProviderStats:
        """What it has met since it started or was last reset."""
        return self._service.ledger.stats()

    def reset(self) -> None:
        """Set every count to zero, those of attempts included: faults come as if it had just started."""
        self._service.ledger.reset()
        self._service.plan.forget()
        self._prompt_cache.clear()

    def change(self, **settings: Any) -> None:
        """Change settings while it runs; the names are those of `SettingsChange`.

        Raises:
            ConfigurationError: There is no such setting to change, or the value cannot be used.
            UnknownNameError: There is no such fault kind.
        """
        given = SettingsChange.of(settings).given()
        checked = ProviderSettings(**{name: getattr(self, name) for name in SettingsChange.model_fields} | given)
        for name in given:
            setattr(self, name, getattr(checked, name))
        self._service.follow_settings()

    async def start(self) -> None:
        """Listen; returns once requests are answered.

        Raises:
            ConfigurationError: The address cannot be listened on.
        """
        app = web.Application(client_max_size=_LARGEST_BODY_BYTES)
        for path, api in self._apis().items():
            app.router.add_post(path, self._service.at(api))
        guarded = [*self._files.routes(), *self._fine_tuning.routes(), web.get("/v1/models", self._models)]
        app.router.add_routes(self._service.guarded(guarded))
        app.router.add_get("/stats", self._serve_stats)
        app.router.add_post("/reset", self._serve_reset)
        app.router.add_post("/settings", self._serve_settings)
        app.router.add_post("/script", self._serve_script)
        app.on_response_prepare.append(self._service.tell_limits)
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

    def _apis(self) -> dict[str, Api]:
        structured, kept = self.structured_output, self._prompt_cache if self.prompt_caching else None
        return {
            "/v1/chat/completions": ChatCompletions(structured_output=structured, cache=kept),
            "/v1/responses": Responses(structured_output=structured, cache=kept),
            "/v1/messages": Messages(self._prompt_cache, structured_output=structured),
            "/v1/embeddings": Embeddings(),
        }

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

    async def _models(self, _request: web.Request) -> web.StreamResponse:
        return _openai.model_list(self._fine_tuning.models())

    async def _serve_stats(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(text=self.stats().model_dump_json())

    async def _serve_reset(self, _request: web.Request) -> web.StreamResponse:
        self.reset()
        return web.json_response(text=self.stats().model_dump_json())

    async def _serve_settings(self, request: web.Request) -> web.StreamResponse:
        try:
            self.change(**SettingsChange.read(await request.read()).given())
        except InputError as error:
            return _openai.refuse(Refusal(400, str(error)))
        return web.json_response({name: getattr(self, name) for name in SettingsChange.model_fields})

    async def _serve_script(self, request: web.Request) -> web.StreamResponse:
        try:
            self._mind.script = Script.read(await request.read())
        except ConfigurationError as error:
            return _openai.refuse(Refusal(400, str(error)))
        return web.json_response({"rules": len(self._mind.script.rules)})


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
