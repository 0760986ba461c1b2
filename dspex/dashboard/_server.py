import os
import secrets
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from urllib.parse import quote

from dspex.client import Client
from dspex_core.errors import ConfigurationError

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8400
TOKEN_VARIABLE = "DSPEX_DASHBOARD_TOKEN"  # noqa: S105 - the variable's name
_SHORTEST_TOKEN = 16


def dashboard_installed() -> bool:
    """Whether the extra is there."""
    return find_spec("nicegui") is not None


@asynccontextmanager
async def dashboard(client: Client, *, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> AsyncGenerator[str]:
    """Serve the dashboard while the block runs. One at a time in a process.

    Args:
        client: Of the server whose runs it shows.
        host: Where it listens. Anywhere but on this machine's own loopback it demands a token: that of
            DSPEX_DASHBOARD_TOKEN, or one made up.
        port: Its port; 0 takes a free one.

    Yields:
        The address to open, with the token if there is one.

    Raises:
        ConfigurationError: If the extra is not installed, it cannot listen there, or the token is too short to be one.
    """
    if not dashboard_installed():
        raise ConfigurationError("the dashboard needs NiceGUI; run: pip install 'dspex[dashboard]'")
    token = _token(host)
    with _listening(host, port) as listener:
        # NiceGUI takes a second to import, and is an extra.
        from dspex.dashboard._app import serving  # noqa: PLC0415

        async with serving(client, listener, token=token, for_this_machine=_is_loopback(host)):
            bound: int = listener.getsockname()[1]
            shown = f"[{host}]" if ":" in host else host
            yield f"http://{shown}:{bound}/" + (f"?token={quote(token, safe='')}" if token else "")


def _token(host: str) -> str | None:
    given = os.environ.get(TOKEN_VARIABLE)
    if not given:
        return None if _is_loopback(host) else secrets.token_urlsafe(32)
    if len(given) < _SHORTEST_TOKEN or not given.isascii() or not given.replace("-", "").replace("_", "").isalnum():
        raise ConfigurationError(
            f"{TOKEN_VARIABLE} must be at least {_SHORTEST_TOKEN} letters, digits, - and _; for instance "
            f"{secrets.token_urlsafe(32)}"
        )
    return given


def _is_loopback(host: str) -> bool:
    return host in {"127.0.0.1", "::1", "localhost"}


@contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket]:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"the dashboard cannot listen on {host}: {error}") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
            listener.listen()
        except OSError as error:
            raise ConfigurationError(
                f"the dashboard cannot listen on {host} port {port}: {error.strerror or error}; choose another --port"
            ) from None
        yield listener
