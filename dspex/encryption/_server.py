import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Self

from aiohttp import web
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from dspex.encryption._reader import PayloadReader
from dspex_core.errors import ConfigurationError, DSPExError
from dspex_core.redaction import keep_secret, redacted

LARGEST_REQUEST_BYTES = 64 * 1024 * 1024
SHORTEST_TOKEN = 16

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_One = Callable[[Payload], Awaitable[Payload]]


class CodecServer:
    """Serves `/decode` and `/encode` as Temporal's Web UI and command line ask for them, while the block runs.

        async with CodecServer(reader, origins=["http://127.0.0.1:8233"]) as server:
            print(server.url)

    A page in a browser is answered only if it comes from one of `origins`. With a token, a request must carry it: as
    `Authorization: Bearer TOKEN`, or, for the Web UI, which sends none, as the first part of the path.

    Args:
        reader: What reads payloads.
        host: Address to listen on; any but a loopback one needs a token.
        port: Port to listen on; 0 takes a free one.
        origins: Web pages that may ask, such as the Web UI's "http://127.0.0.1:8233".
        token: What requests must carry; at least 16 characters.

    Raises:
        ConfigurationError: If the address needs a token, or the token is too short; on entering, if the port is taken.
    """

    def __init__(
        self,
        reader: PayloadReader,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        origins: Collection[str] = (),
        token: str | None = None,
    ) -> None:
        if token is None and not _is_loopback(host):
            raise ConfigurationError(
                f"a codec server on {host} decrypts for whoever reaches it: set DSPEX_CODEC_TOKEN to a long random "
                "text, or keep to --host 127.0.0.1"
            )
        if token is not None:
            keep_secret(token)
            if len(token) < SHORTEST_TOKEN or not token.isascii() or "/" in token:
                raise ConfigurationError(
                    f"DSPEX_CODEC_TOKEN must have at least {SHORTEST_TOKEN} characters, of ASCII and without slashes; "
                    "make one with: openssl rand -hex 24"
                )
        self._reader, self._host, self._port, self._token = reader, host, port, token
        self._origins = frozenset(origin.rstrip("/") for origin in origins)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens, without the token."""
        if self._runner is None:
            raise ConfigurationError("the codec server is not running")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._checked], client_max_size=LARGEST_REQUEST_BYTES)
        for prefix in ("", "/{token}"):
            app.router.add_post(f"{prefix}/decode", self._decode)
            app.router.add_post(f"{prefix}/encode", self._encode)
            app.router.add_route("OPTIONS", f"{prefix}/{{verb}}", _nothing)
        app.router.add_get("/health", _health)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(
                f"the codec server cannot listen on {self._host}:{self._port}: {error.strerror}; choose another --port"
            ) from None
        self._runner = runner
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _checked(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._origins:
            return web.json_response({"message": f"pages of {origin} may not ask; see --allow-origin"}, status=403)
        if request.path == "/health" or request.method == "OPTIONS" or self._is_authorized(request):
            response = await handler(request)
        else:
            response = web.json_response({"message": "this codec server asks for its token"}, status=401)
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Allow-Methods"] = "POST, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = "authorization, content-type, x-namespace"
            response.headers["Vary"] = "Origin"
        return response

    def _is_authorized(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        given = (request.headers.get("Authorization", "").removeprefix("Bearer "), request.match_info.get("token", ""))
        return any(hmac.compare_digest(text.encode(), self._token.encode()) for text in given)

    async def _decode(self, request: web.Request) -> web.Response:
        return await _answer(request, self._reader.read)

    async def _encode(self, request: web.Request) -> web.Response:
        return await _answer(request, self._reader.write)


async def _answer(request: web.Request, one: _One) -> web.Response:
    try:
        asked = json_format.Parse(await request.read(), Payloads(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError):
        return web.json_response({"message": 'the body is not {"payloads": […]} as Temporal writes it'}, status=400)
    try:
        done = Payloads(payloads=await asyncio.gather(*(one(payload) for payload in asked.payloads)))
    except DSPExError as error:
        return web.json_response({"message": redacted(str(error))}, status=400)
    return web.Response(text=json_format.MessageToJson(done), content_type="application/json")


async def _nothing(request: web.Request) -> web.Response:
    del request
    return web.Response(status=204)


async def _health(request: web.Request) -> web.Response:
    del request
    return web.Response(text="ok\n")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
