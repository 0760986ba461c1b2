import asyncio
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from temporalio.client import (
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from dspex.client._patience import patiently, rpc_error
from dspex.client._status import RunStatus
from dspex.client._trouble import readable
from dspex_core.errors import RunConflictError, RunError

UPDATE_SECONDS = 10.0
"""How long a worker may take to heed a word to a run."""
TIMES_SENT_BACK = 5
"""A server sends a word back that came as the run was about to end while something else happened; one that is sent back
so often meets something else."""


class Told(Protocol):
    """A run that is told something."""

    id: str

    async def status(self) -> RunStatus:
        """Where it stands."""
        ...


async def say_to(run: Told, handle: WorkflowHandle[Any, Any], word: str, *arguments: Any) -> None:
    """Have a run heed an update.

    Raises:
        RunConflictError: If it has ended, or refuses.
        RunError: If no worker is there to take the word.
    """
    update_id = str(uuid.uuid4())

    async def tell() -> None:
        # Of one id in every try: the first may be heeded though its answer is lost, and may be what the run ends on.
        waiting = handle.execute_update(word, args=arguments, id=update_id)  # pyright: ignore[reportUnknownMemberType]
        await asyncio.wait_for(waiting, UPDATE_SECONDS)

    try:
        await patiently(partial(_unless_sent_back, tell))
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
        raise RunError(
            f"run {run.id}: no worker took the word to {word.replace('_', ' ')}; start one with `dspex worker`, "
            "and say it again"
        ) from None
    except WorkflowUpdateFailedError as error:
        said = readable(error.cause.message) if isinstance(error.cause, ApplicationError) else str(error.cause)
        raise RunConflictError(f"run {run.id}: {said}") from None
    except RPCError as error:
        await _refused(run, error, word)


async def _unless_sent_back(tell: Callable[[], Awaitable[None]]) -> None:
    for _ in range(TIMES_SENT_BACK):
        try:
            await tell()
        except RPCError as error:
            if error.status is not RPCStatusCode.FAILED_PRECONDITION:
                raise
        else:
            return
    await tell()


async def end_at_once(run: Told, handle: WorkflowHandle[Any, Any]) -> None:
    """Cancel a run's workflow. Raises as `say_to` does."""
    try:
        await patiently(handle.cancel)
    except RPCError as error:
        await _refused(run, error, "cancel")


async def _refused(run: Told, error: RPCError, word: str) -> None:
    """Say why a run does not take a word; one to cancel is not needed where it was cancelled."""
    if error.status is not RPCStatusCode.NOT_FOUND:
        raise rpc_error(error, run.id) from None
    status = (await run.status()).status
    if (word, status) != ("cancel", "cancelled"):
        raise RunConflictError(f"run {run.id} has ended already ({status})") from None
