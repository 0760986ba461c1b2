import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from dspex.client._patience import patiently, rpc_error
from dspex.client._status import RunStatus, word_after
from dspex.client._trouble import failure_of
from dspex_core.errors import DSPExError, RunFailedError

LOOK_SECONDS = 1.0
"""Between looks at a run whose result is waited for."""


async def result_unless_parked(
    handle: WorkflowHandle[Any, Any], look: Callable[[], Awaitable[RunStatus]], run_id: str
) -> Any:
    """The result of a run that nobody watches: one that is parked would otherwise be waited for without a word.

    Args:
        handle: Its workflow, with the type of its result.
        look: Tells where it stands.
        run_id: Its id.

    Raises:
        RunFailedError: If it failed, was cancelled, or is parked.
    """
    ending = asyncio.ensure_future(patiently(handle.result))
    looking = asyncio.ensure_future(_parked_reason(look))
    try:
        await asyncio.wait({ending, looking}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            raise RunFailedError(
                f"run {run_id} is parked: {looking.result()}; it is kept: cure that, and it goes on with "
                f"`dspex runs {word_after(looking.result())} {run_id}`"
            )
        return ending.result()
    except WorkflowFailureError as error:
        raise RunFailedError(f"run {run_id} {failure_of(error)}") from None
    except RPCError as error:
        raise rpc_error(error, run_id) from None
    finally:
        for task in (ending, looking):
            task.cancel()
        await asyncio.wait({ending, looking})


async def _parked_reason(look: Callable[[], Awaitable[RunStatus]]) -> str:
    """What a run waits for, once it is parked."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        # A look that finds nobody to ask is none: who waits for the end learns what is wrong.
        with suppress(DSPExError, RPCError):
            status = await look()
            # Who asks a model to ask a person waits for that person, too.
            if status.status == "parked" and status.parked_reason is not None and not status.approvals:
                return status.parked_reason
