from dataclasses import dataclass

from temporalio.client import Client

from dspex.devserver import Server
from dspex_core.artifacts import ArtifactStore


@dataclass(frozen=True)
class Connection:
    """A Temporal client, the server it talks to, and where data sets are kept."""

    temporal: Client
    server: Server
    store: ArtifactStore
