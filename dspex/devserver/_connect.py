from collections.abc import Sequence

from temporalio.client import Client, Plugin
from temporalio.runtime import Runtime

from dspex.devserver._configured import connect_options
from dspex.devserver._probe import connection_trouble
from dspex.devserver._server import Server
from dspex_core.errors import ServerUnavailableError


async def connect_to(server: Server, *, plugins: Sequence[Plugin] = (), runtime: Runtime | None = None) -> Client:
    """Give a client of the server, with the keys and certificates that `connect_options` finds.

    Raises:
        ServerUnavailableError: It cannot be reached or used; says why in a line.
        ConfigurationError: The Temporal profile or environment variables contradict each other.
    """
    try:
        return await Client.connect(**connect_options(server), plugins=plugins, runtime=runtime)
    except RuntimeError as error:
        raise ServerUnavailableError(
            f"the Temporal server at {server.address} cannot be used: {connection_trouble(error)}"
        ) from None
