import asyncio
from typing import Any

from temporalio import workflow

from dspex_core.events import Event

EVENTS_MEMO = "dspex_events"
"""Memo of the events that came last; the history of a run has every one it ever had, and so all events."""


class EventLog:
    """Writes a run's events into its history.

    There anybody can read them, while the run goes on and after its end, with no worker's help and at no cost to it.
    Events that come at once are one entry.

    Args:
        written: How many events earlier legs of the run have entered.
    """

    def __init__(self, written: int = 0) -> None:
        self.written = written
        self._waiting: list[dict[str, Any]] = []

    def append(self, event: Event) -> None:
        """Number an event and enter it, with the time, before the workflow's turn is over."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        entered = event.model_copy(update={"offset": self.written, "at": workflow.now()})
        self.written += 1
        self._waiting.append(entered.model_dump(mode="json", exclude={"run_id"}))

    def flush(self) -> None:
        """Enter what is waiting at once: a workflow that ends has no more turns."""
        if self._waiting:
            workflow.upsert_memo({EVENTS_MEMO: self._waiting})
            self._waiting = []
