import asyncio
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import (
    ActivitySlotInfo,
    CustomSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
)

from dspex_core.requests import EVALUATE_CHUNK

if TYPE_CHECKING:
    from dspex._rooms import activities

BETWEEN_LOOKS_SECONDS = 0.02
"""How often a worker that takes nothing now looks whether it may; and how long a chunk may be on its way in."""
BETWEEN_COUNTS_SECONDS = 1.0
"""How often a worker beside others looks whether it still is."""
BETWEEN_COUNTS_ALONE_SECONDS = 0.2
"""How often one that is alone does: until it knows of another it takes all chunks, and keeps them."""
UNTIL_OTHERS_ARE_GONE_SECONDS = 10.0
POLLS_BESIDE_OTHERS = 2
"""Activities that a worker without chunks asks for at once: all may be chunks."""


class _Permit(SlotPermit):
    is_used = False
    is_chunk = False


class FairSlots(CustomSlotSupplier):
    """Places for activities. A worker that is not alone leaves chunks that it could not begin yet to the others.

    Without that, all chunks of an evaluation may wait in the worker that asked first, while another has nothing to do.
    A worker that is alone takes all there is, so that no other activity waits behind chunks; one that does not know yet
    takes itself for one of several.

    Args:
        turns: What chunks wait for.
        most: Most activities at once.
    """

    def __init__(self, turns: "activities.Turns", *, most: int) -> None:
        self._turns = turns
        self._most = most
        self._given = 0
        self._polling = 0
        self._chunks = 0
        self._chunk_came = 0.0
        self.is_alone = False
        self._heard_of_others = -math.inf

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        """A place, as soon as there is one."""
        while (permit := self.try_reserve_slot(ctx)) is None:  # noqa: ASYNC110 - Temporal's threads change it, too
            await asyncio.sleep(BETWEEN_LOOKS_SECONDS)
        return permit

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """A place, if there is one now."""
        del ctx
        if self._given >= self._most or not (self.is_alone or self._takes_more()):
            return None
        self._given += 1
        self._polling += 1
        return _Permit()

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """An activity has come for a place."""
        permit = ctx.permit
        if isinstance(permit, _Permit):
            permit.is_used = True
            self._polling -= 1
            if isinstance(ctx.slot_info, ActivitySlotInfo) and ctx.slot_info.activity_type == EVALUATE_CHUNK:
                permit.is_chunk = True
                self._chunks += 1
                self._chunk_came = time.monotonic()

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        """A place is free again."""
        permit = ctx.permit
        if isinstance(permit, _Permit):
            self._given -= 1
            self._polling -= not permit.is_used
            self._chunks -= permit.is_chunk

    def hear(self, workers: set[str], *, own: str) -> None:
        """Take in who takes activities, as the server tells: it may not know of all yet, or have forgotten some."""
        if workers - {own}:
            self._heard_of_others = time.monotonic()
        since = time.monotonic() - self._heard_of_others
        self.is_alone = workers == {own} and since >= UNTIL_OTHERS_ARE_GONE_SECONDS

    async def count_workers(self, client: Client, task_queue: str) -> None:
        """Keep finding out whether another worker takes activities of this queue, until cancelled."""
        from temporalio.api.enums.v1 import TaskQueueType  # noqa: PLC0415 - a large generated module
        from temporalio.api.taskqueue.v1 import TaskQueue  # noqa: PLC0415
        from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest  # noqa: PLC0415

        request = DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        )
        while True:
            with suppress(RPCError):
                answer = await client.workflow_service.describe_task_queue(request)
                self.hear({poller.identity for poller in answer.pollers}, own=client.identity)
            await asyncio.sleep(BETWEEN_COUNTS_ALONE_SECONDS if self.is_alone else BETWEEN_COUNTS_SECONDS)

    def _takes_more(self) -> bool:
        if not self._chunks:
            return self._polling < POLLS_BESIDE_OTHERS
        # One at a time: what is on its way in may be a chunk that then waits here.
        is_settled = time.monotonic() - self._chunk_came >= BETWEEN_LOOKS_SECONDS
        return not self._turns.are_taken and not self._polling and is_settled
