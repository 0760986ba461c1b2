import errno
import os
import socket
import ssl
import urllib.request
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dspex_core.errors import ConfigurationError

if TYPE_CHECKING:
    import aiohttp

KEPT_ALIVE_SECONDS = 30.0


@dataclass(frozen=True)
class Reply:
    """What a server answered: status, headers (whatever their case) and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Unreachable(Exception):  # noqa: N818 - it never leaves the room; an LMError says it to users
    """No whole answer came: `timed_out`, `refused` if no connection could be made, or it broke."""

    def __init__(self, reason: str, *, timed_out: bool = False, refused: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out
        self.refused = refused


class Connections:
    """Posts JSON over kept-alive connections with aiohttp alone.

    An SDK's own request takes about five times the CPU of a bare post, which at 64 calls in flight is more than a core
    has. So the ordinary call is a bare post with the SDK's headers; everything else goes through the SDK.

    Belongs to one event loop from `open` on, and is closed with it.

    Args:
        headers: Sent with every request; they hold the key.
        timeout_seconds: Longest wait for a whole answer.
    """

    def __init__(self, headers: Mapping[str, str], *, timeout_seconds: float) -> None:
        self._headers = dict(headers)
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def open(self, url: str) -> None:
        """Make the session on the running loop.

        Raises:
            ConfigurationError: If the address is none.
        """
        import aiohttp  # noqa: PLC0415 - kept off the import of dspex_core
        import yarl  # noqa: PLC0415 - comes with aiohttp

        try:
            address = yarl.URL(url)
            host, secure = address.host or "", address.scheme == "https"
            proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(address.scheme)
        except ValueError as error:
            raise ConfigurationError(f"api_base {url!r} is no address: {error}") from None
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            # The limiter decides how many are open.
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEPT_ALIVE_SECONDS, ssl=_trusted() if secure else True
            ),
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=proxy,
        )

    async def post(self, url: str, body: bytes) -> Reply:
        """One request.

        Raises:
            Unreachable: If no whole answer came.
        """
        import aiohttp  # noqa: PLC0415

        if self._session is None:
            raise Unreachable("the connections are closed")
        try:
            # A redirect names another address, and this request holds the key.
            async with self._session.post(url, data=body, allow_redirects=False) as response:
                return Reply(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


def unreachable(error: BaseException) -> Unreachable:
    """Why no answer came, in words for people who never heard of the libraries that tell it.

    Args:
        error: What a transport, or an SDK over one, raised.
    """
    import aiohttp  # noqa: PLC0415

    told = next((cause for cause in _causes(error) if isinstance(cause, (aiohttp.ClientError, OSError))), error)
    refused = isinstance(told, (aiohttp.ClientConnectorError, ConnectionRefusedError, socket.gaierror))
    # An SDK's own has no cause where it gave up itself.
    timed_out = not refused and (isinstance(told, TimeoutError) or "Timeout" in type(told).__name__)
    for kinds, words in (
        ((aiohttp.ClientConnectorDNSError, socket.gaierror), "there is no such host"),
        ((aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError), "its certificate is not trusted"),
        ((aiohttp.ClientSSLError, ssl.SSLError), "no TLS connection comes about; does it serve http:// alone?"),
        (aiohttp.ClientHttpProxyError, "the proxy lets no call through"),
        (aiohttp.ServerDisconnectedError, "the connection was closed before an answer came"),
        (aiohttp.ClientPayloadError, "the answer broke off"),
        (aiohttp.ClientResponseError, "what answers there speaks no HTTP"),
        (ConnectionRefusedError, "nobody listens there"),
    ):
        if isinstance(told, kinds) or isinstance(told.__cause__, kinds):
            return Unreachable(words, timed_out=timed_out, refused=refused)
    words = "no connection comes about" if refused else "the connection broke"
    number = told.errno if isinstance(told, OSError) else None
    if number is not None and number in errno.errorcode:
        words = os.strerror(number).lower()
    return Unreachable(words, timed_out=timed_out, refused=refused)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _trusted() -> ssl.SSLContext:
    import httpx  # noqa: PLC0415 - comes with the SDKs, which trust the same authorities

    return httpx.create_ssl_context()


async def close_with_loop(owner: object, close: Callable[[], Awaitable[Any]]) -> AsyncGenerator[None, None]:
    """Have `close` called on the running loop: when `owner` is dropped, when the loop ends, or by the result's aclose.

    A loop closes the asynchronous generators that are dropped, or still open when it ends: the moments when connections
    that nobody closed can be closed. `close` must not refer to `owner`.
    """
    closer = _closing(close)
    await anext(closer)
    weakref.finalize(owner, _let_go, closer).atexit = False
    return closer


async def _closing(close: Callable[[], Awaitable[Any]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close()


def _let_go(closer: AsyncGenerator[None, None]) -> None:
    """Called when the owner is gone. Until then its connections are kept out of any garbage that it is part of.

    With this call the last reference to `closer` goes, and its loop closes it.
    """
