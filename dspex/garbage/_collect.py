import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from temporalio.api.workflowservice.v1 import DescribeScheduleRequest
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from dspex.encryption import PayloadReader
from dspex.garbage._reached import Reached
from dspex_core.artifacts import ArtifactStore, StoredArtifact
from dspex_core.errors import ConfigurationError, ServerUnavailableError

T = TypeVar("T")

GRACE_SECONDS = 24 * 3600.0
_AT_ONCE = 8


@dataclass(frozen=True)
class Collected:
    """What became of a store's artifacts.

    Attributes:
        removed: How many nothing refers to, and were removed, or would be.
        removed_bytes: What they took.
        in_use: How many something refers to.
        young: How many nothing refers to yet, and are kept because of their age.
    """

    removed: int
    removed_bytes: int
    in_use: int
    young: int


async def collect_garbage(
    temporal: Client,
    store: ArtifactStore,
    reader: PayloadReader,
    *,
    grace_seconds: float = GRACE_SECONDS,
    dry_run: bool = False,
) -> Collected:
    """Remove artifacts that nothing refers to: no run in the client's namespace that the server knows, no schedule.

    A run counts from its start until the server forgets it, its retention after its end, whether it is one of ours or
    not. Saved programs hold all that they need. Nothing is removed unless everything that may refer to an artifact was
    read.

    Args:
        temporal: A client of the only namespace whose runs use this store.
        store: Where artifacts are.
        reader: Makes encrypted payloads readable.
        grace_seconds: What was written in so many last seconds is kept: its run may be about to start, and rows just
            scored are not in a history yet.
        dry_run: Only count.

    Raises:
        ConfigurationError: If the time is negative.
        ServerUnavailableError: If the server does not tell all.
        EncryptionError: If something is encrypted with a key that is not here.
        ArtifactError: If the store cannot be used.
    """
    if not grace_seconds >= 0:
        raise ConfigurationError(f"grace_seconds is a time, 0 or more, not {grace_seconds}")
    # Before any run is looked at: what is listed and of age then was written for runs that can be seen by now.
    oldest_kept = await store.now() - timedelta(seconds=grace_seconds)
    listed = [artifact async for artifact in store.stored()]
    reached = Reached(store, reader)
    try:
        # First, because a run that one has just started needs the same, also if the schedule is deleted meanwhile.
        await _in_batches(await temporal.list_schedules(), lambda found: _follow_schedule(temporal, found.id, reached))
        await _in_batches(temporal.list_workflows(), lambda run: _follow_run(temporal, run, reached))
    except RPCError as error:
        raise ServerUnavailableError(
            f"nothing was removed, because Temporal does not tell what is in use: {error.message}"
        ) from None
    # What an ended run kept may be all that refers to its rows once the server has forgotten it: one of its id that
    # goes on from there will find it.
    kept = [artifact.name for artifact in listed if artifact.name is not None and artifact.digest in reached.digests]
    await _in_batches(_each(kept), reached.follow_kept)
    unused = [artifact for artifact in listed if artifact.digest not in reached.digests]
    old = [artifact for artifact in unused if artifact.written < oldest_kept]
    removed = old
    if not dry_run:
        removed: list[StoredArtifact] = []

        async def remove(artifact: StoredArtifact) -> None:
            if await store.remove(artifact, unless_since=oldest_kept):
                removed.append(artifact)

        await _in_batches(_each(old), remove)
    return Collected(
        removed=len(removed),
        removed_bytes=sum(artifact.size_bytes for artifact in removed),
        in_use=len(listed) - len(unused),
        young=len(unused) - len(removed),
    )


async def _follow_run(temporal: Client, run: WorkflowExecution, reached: Reached) -> None:
    handle = temporal.get_workflow_handle(run.id, run_id=run.run_id)
    try:
        async for event in handle.fetch_history_events():
            await reached.follow(event)
        if run.close_time is None:
            # What an activity under way has told with its heartbeats is in no event.
            await reached.follow((await handle.describe()).raw_description)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        # The server has just forgotten it.


async def _follow_schedule(temporal: Client, schedule_id: str, reached: Reached) -> None:
    request = DescribeScheduleRequest(namespace=temporal.namespace, schedule_id=schedule_id)
    try:
        await reached.follow(await temporal.workflow_service.describe_schedule(request))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


async def _in_batches(items: AsyncIterator[T], work: Callable[[T], Awaitable[None]]) -> None:
    batch: list[T] = []
    async for item in items:
        batch.append(item)
        if len(batch) == _AT_ONCE:
            await asyncio.gather(*map(work, batch))
            batch = []
    await asyncio.gather(*map(work, batch))


async def _each(items: Sequence[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
