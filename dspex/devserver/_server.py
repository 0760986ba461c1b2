from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

Say = Callable[[str], None]
"""Takes one line for the user about what is being done or what went wrong."""


@dataclass(frozen=True)
class Server:
    """A Temporal server that answered when this was made.

    Attributes:
        address: "host:port" of its gRPC service.
        namespace: The namespace to use on it.
        web_ui: Base URL of its Web UI without a slash at the end, or None if that is unknown.
        origin: "configured" if the environment or a profile names it, "dev server" if it is the one in DSPEX_HOME.
        started: Whether whoever got this value had to start it.
    """

    address: str
    namespace: str
    web_ui: str | None
    origin: Literal["configured", "dev server"]
    started: bool


def web_ui_link(server: Server, workflow_id: str, run_id: str | None = None) -> str | None:
    """Give the address of a workflow in the server's Web UI, of its latest run if no run is named.

    Returns:
        A URL, or None if the server's Web UI is not known.
    """
    if server.web_ui is None:
        return None
    link = f"{server.web_ui}/namespaces/{quote(server.namespace, safe='')}/workflows/{quote(workflow_id, safe='')}"
    return link if run_id is None else f"{link}/{quote(run_id, safe='')}/history"
