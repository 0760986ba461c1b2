import os
from urllib.parse import urlsplit

from dspex import settings
from dspex.cli._logging import configure_logging
from dspex.cli._shell import say, until_told_to_stop
from dspex.devserver import configured_server, running_dev_server
from dspex.encryption import CodecServer
from dspex.worker import DSPExPlugin
from dspex_core.errors import DSPExError, InputError


async def serve_codec(*, host: str, port: int, origins: list[str]) -> None:
    """Make payloads readable for the Web UI until told to stop.

    Raises:
        ConfigurationError: If it may not listen there, or cannot.
        InputError: If an origin is none.
    """
    configure_logging()
    reader = DSPExPlugin().payload_reader()
    allowed = [_origin(given) for given in origins] or await _web_ui_origins()
    token = os.environ.get("DSPEX_CODEC_TOKEN") or None
    async with CodecServer(reader, host=host, port=port, origins=allowed, token=token) as server:
        endpoint = f"{server.url}/TOKEN (the value of DSPEX_CODEC_TOKEN)" if token else server.url
        say(f"codec server ready: {endpoint}")
        say("in the Web UI: the glasses at the top right, then this address as codec server endpoint")
        say(f"pages that may ask: {', '.join(allowed) or 'none; name the Web UI with --allow-origin'}")
        if settings.encryption_key() is None:
            say("DSPEX_ENCRYPTION_KEY is not set: only large payloads, kept in the artifact store, become readable")
        await until_told_to_stop()
    say("codec server stopped")


def _origin(given: str) -> str:
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise InputError(f"--allow-origin {given}: give scheme, host and port of a page, such as http://127.0.0.1:8233")
    return f"{parts.scheme}://{parts.netloc}"


async def _web_ui_origins() -> list[str]:
    """Where the Web UI of the server in use is, under both names of this machine."""
    try:
        server = await configured_server() or await running_dev_server()
    except DSPExError as error:
        say(f"not looking for the Web UI: {error}")
        return []
    if server is None or server.web_ui is None:
        return []
    names = {server.web_ui, server.web_ui.replace("//127.0.0.1:", "//localhost:")}
    return sorted(names | {server.web_ui.replace("//localhost:", "//127.0.0.1:")})
