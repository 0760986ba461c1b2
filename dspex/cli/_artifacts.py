import os
from dataclasses import asdict

from dspex import settings
from dspex.cli._cache import size_text
from dspex.cli._shell import say, tell, tell_json
from dspex.cli._worker import server_in_use
from dspex.devserver import Server, connect_to, has_dev_server, running_dev_server
from dspex.garbage import collect_garbage
from dspex.worker import DSPExPlugin
from dspex_core.errors import ConfigurationError


async def remove_garbage(*, grace_hours: float, dry_run: bool, as_json: bool) -> None:
    """Remove artifacts that nothing refers to, and tell how many and how large they were.

    Raises:
        ConfigurationError: If another server's runs use the store, too.
        ServerUnavailableError: If no server tells what is in use; nothing was removed then.
        ArtifactError: If the store cannot be used.
    """
    plugin, server = DSPExPlugin(), await server_in_use()
    await _require_own_store(server)
    temporal = await connect_to(server, plugins=[plugin])
    where = settings.artifacts_url()
    say(f"looking for what the runs and schedules of {server.namespace} on {server.address} use of {where}")
    found = await collect_garbage(
        temporal, plugin.store, plugin.payload_reader(), grace_seconds=grace_hours * 3600, dry_run=dry_run
    )
    if as_json:
        tell_json({**asdict(found), "dry_run": dry_run, "artifacts": where, "namespace": server.namespace})
        return
    removed = "would be removed" if dry_run else "removed"
    tell(f"{found.removed} {removed} ({size_text(found.removed_bytes)}), {found.in_use} in use, {found.young} young")


async def _require_own_store(server: Server) -> None:
    """Refuse the store in DSPEX_HOME to who asks another server than the dev server, whose runs keep theirs there."""
    if os.environ.get("DSPEX_ARTIFACTS") or server.origin == "dev server" or not has_dev_server():
        return
    running = await running_dev_server()
    if running is None or (running.address, running.namespace) != (server.address, server.namespace):
        raise ConfigurationError(
            f"the dev server's runs keep their artifacts in {settings.artifacts_url()}, too, and {server.namespace} on "
            f"{server.address} does not know them: set DSPEX_ARTIFACTS to the store of this server's runs alone"
        )
