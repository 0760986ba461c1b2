import ipaddress
import re

import aiohttp
from temporalio.envconfig import ClientConfig, ClientConnectConfig

from dspex.devserver._probe import why_unusable
from dspex.devserver._process import StateFolder
from dspex.devserver._server import Server
from dspex_core.errors import ConfigurationError, ServerUnavailableError
from dspex_core.home import home

_CONNECT_TIMEOUT_SECONDS = 5.0
_ADDRESS = re.compile(r"[^\s/]+:\d{1,5}")
_CLOUD_HOSTS = (".tmprl.cloud", ".api.temporal.io")
_UI_PORT_OFFSET = 1000  # `temporal server start-dev` puts its Web UI there unless told otherwise


def connect_options(server: Server) -> ClientConnectConfig:
    """Give the arguments for `temporalio.client.Client.connect` that reach this server.

    For a configured server they carry the API key, TLS settings and metadata from the environment or profile; keep
    them out of logs and errors. A dev server gets none of these.

    Raises:
        ConfigurationError: The Temporal profile or environment variables contradict each other.
    """
    options = _load() if server.origin == "configured" else ClientConnectConfig()
    options["target_host"] = server.address
    options["namespace"] = server.namespace
    return options


async def configured_server() -> Server | None:
    """Find the server that TEMPORAL_ADDRESS or a Temporal profile names, and check that it answers.

    Returns:
        The server, or None if neither names an address.

    Raises:
        ConfigurationError: The Temporal profile or environment variables cannot be read.
        ServerUnavailableError: An address is named, but no usable server answered there within 5 seconds.
    """
    options = _load()
    address = options.get("target_host")
    if not address:
        return None
    if not _ADDRESS.fullmatch(address):
        raise ConfigurationError(
            f"the Temporal server's address {address!r} (from TEMPORAL_ADDRESS or your Temporal profile) is no "
            "host:port, such as temporal.example:7233; it takes no http://"
        )
    options.setdefault("namespace", "default")
    reason = await why_unusable(options, timeout_seconds=_CONNECT_TIMEOUT_SECONDS)
    if reason:
        raise ServerUnavailableError(
            f"the Temporal server at {address} (from TEMPORAL_ADDRESS or your Temporal profile) cannot be used: "
            f"{reason}; start it, or correct the setting, or unset it to have DSPEx start a dev server"
        )
    namespace = options.get("namespace", "default")
    web_ui = await _own_web_ui(address) or await _web_ui(address)
    return Server(address, namespace, web_ui, origin="configured", started=False)


def _load() -> ClientConnectConfig:
    try:
        return ClientConfig.load_client_connect_config()
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"the Temporal settings cannot be read: {error}. Check TEMPORAL_PROFILE, TEMPORAL_CONFIG_FILE and "
            "the other TEMPORAL_ variables"
        ) from error


async def _own_web_ui(address: str) -> str | None:
    """The Web UI's address if the server named is the dev server in DSPEX_HOME, whose ports may be any."""
    record = await StateFolder(home() / "dev-server").answering()
    return record.web_ui if record and record.address == address else None


async def _web_ui(address: str) -> str | None:
    host, _, port = address.rpartition(":")
    if host.endswith(_CLOUD_HOSTS):
        return "https://cloud.temporal.io"
    if not _is_loopback(host) or not port.isdecimal():
        return None
    url = f"http://{host}:{int(port) + _UI_PORT_OFFSET}"
    return url if await _is_temporal_ui(url) else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


async def _is_temporal_ui(url: str) -> bool:
    timeout = aiohttp.ClientTimeout(total=1)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/api/v1/settings") as response:
            return response.ok and "Version" in await response.text()
    except (TimeoutError, aiohttp.ClientError, ValueError):
        return False
