from dataclasses import asdict

from dspex import settings
from dspex.cli._cache import size_text
from dspex.cli._shell import say, tell, tell_json
from dspex.cli._worker import server_in_use
from dspex.devserver import connect_to
from dspex.garbage import collect_garbage
from dspex.worker import DSPExPlugin


async def remove_garbage(*, grace_hours: float, dry_run: bool, as_json: bool) -> None:
    """Remove artifacts that nothing refers to, and tell how many and how large they were.

    Raises:
        ServerUnavailableError: If no server tells what is in use; nothing was removed then.
        ArtifactError: If the store cannot be used.
    """
    plugin, server = DSPExPlugin(), await server_in_use()
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
