"""Holding a run up, and letting it go on: what every kind of run has of it."""

import asyncio
from collections.abc import Callable

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from dspex_core.events import Event, RunParked, RunPaused, RunResumed

from ._search_attributes import STATUS
from ._values import ControlStatus, Standing


class Gate:
    """Whether a run may begin anything new: not while somebody has paused it, nor while it is parked.

    Args:
        tell: Told whenever that changes.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._on_closing: list[Callable[[], None]] = []
        self.paused = False
        self.parked_reason: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may."""
        return not self.paused and self.parked_reason is None

    @property
    def standing(self) -> Standing:
        """The same in a word; a run that is parked is not merely paused."""
        if self.parked_reason is not None:
            return "parked"
        return "paused" if self.paused else "running"

    async def opened(self) -> None:
        """Wait until it may."""
        while not self.is_open:
            await workflow.wait_condition(lambda: self.is_open)

    def on_closing(self, act: Callable[[], None]) -> None:
        """Do this whenever nothing new may begin any more."""
        self._on_closing.append(act)

    def pause(self) -> None:
        """Let nothing new begin until it is resumed."""
        if not self.paused:
            self._close(RunPaused(), paused=True)

    def park(self, reason: str) -> None:
        """The same, because the run cannot go on; the first of several reasons is the one that is told."""
        if self.parked_reason is None:
            self._close(RunParked(reason=reason), reason=reason)

    def resume(self) -> None:
        """Go on, whatever held it up."""
        if not self.is_open:
            self.paused, self.parked_reason = False, None
            self._tell(RunResumed())

    def _close(self, event: Event, *, paused: bool = False, reason: str | None = None) -> None:
        was_open = self.is_open
        self.paused, self.parked_reason = self.paused or paused, reason or self.parked_reason
        self._tell(event)
        for act in self._on_closing if was_open else ():
            act()


class Controlled:
    """What a workflow answers to that can be held up. Everything may be said twice, which then changes nothing.

    Args:
        searchable: Whether this server knows our search attributes.
    """

    def __init__(self, *, searchable: bool) -> None:
        self._searchable = searchable
        self.gate = Gate(self.on_gate)

    @workflow.update
    def pause(self) -> ControlStatus:
        """Finish what is under way, and begin nothing new until resumed."""
        self.gate.pause()
        return self.control()

    @pause.validator
    def _may_be_paused(self) -> None:
        parent = workflow.info().parent
        if parent is not None:
            raise ApplicationError(
                f"{workflow.info().workflow_id} is part of run {parent.workflow_id}: pause that",
                type="RunConflictError",
            )

    @workflow.update
    def resume(self) -> ControlStatus:
        """Go on."""
        self.gate.resume()
        return self.control()

    @workflow.query
    def control(self) -> ControlStatus:
        """Whether the run is held up, and why."""
        return ControlStatus(status=self.gate.standing, parked_reason=self.gate.parked_reason)

    def details(self) -> str:
        """Where the run stands, in Markdown."""
        return ""

    def show(self) -> None:
        """Show where the run stands, in Temporal's Web UI."""
        workflow.set_current_details("\n\n".join(filter(None, [held_up(self.gate), self.details()])))

    def on_gate(self, event: Event) -> None:
        """What follows from this, which has just happened."""
        del event
        self.show()
        if self._searchable:
            workflow.upsert_search_attributes([STATUS.value_set(self.gate.standing)])  # pyright: ignore[reportUnknownMemberType]


def held_up(gate: Gate) -> str:
    """What holds a run up and how it goes on, in Markdown; nothing if it is not held up."""
    if gate.is_open:
        return ""
    reason = f"**{gate.standing}** {gate.parked_reason or ''}".strip()
    return f"{reason}\n\nGo on: `dspex runs resume {workflow.info().workflow_id}`"


def in_background(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    """Keep a task that nobody waits for from being collected before it is done."""
    tasks.add(task)
    task.add_done_callback(tasks.discard)
