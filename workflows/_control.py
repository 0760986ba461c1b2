"""Holding a run up, and letting it go on: what every kind of run has of it."""

import asyncio
from collections.abc import Callable

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError, TimeoutError, TimeoutType  # noqa: A004 - Temporal's

from dspex_core.budget import BUDGET_REACHED, Limits, tokens_of
from dspex_core.events import Event, RunParked, RunPaused, RunResumed
from dspex_core.requests import Held
from dspex_core.usage import Usage

from ._ledger import Ledger
from ._search_attributes import STATUS
from ._values import AwaitedApproval, ControlStatus, NewLimits, Standing


class Gate:
    """Whether a run may begin anything new: not while somebody has paused it, nor while it is parked.

    Args:
        tell: Told whenever that changes.
        seconds: How long it might, in earlier legs of the run.
    """

    def __init__(self, tell: Callable[[Event], None], *, seconds: float = 0.0) -> None:
        self._tell = tell
        self._on_closing: list[Callable[[], None]] = []
        self.paused = False
        self.parked_reason: str | None = None
        self.parked_for_budget = False
        self.resumes = 0
        self._ran = seconds
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """How long the run was neither paused nor parked."""
        since = self._since or workflow.info().start_time.timestamp()
        return self._ran + (workflow.time() - since if self.is_open else 0.0)

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

    def park(self, reason: str, *, for_budget: bool = False) -> None:
        """The same, because the run cannot go on; the first of several reasons is the one that is told."""
        if self.parked_reason is None:
            self.parked_for_budget = for_budget
            self._close(RunParked(reason=reason), reason=reason)

    def resume(self) -> None:
        """Go on, whatever held it up."""
        if not self.is_open:
            self.paused, self.parked_reason, self.parked_for_budget = False, None, False
            self._since = workflow.time()
            self.resumes += 1
            self._tell(RunResumed())

    def _close(self, event: Event, *, paused: bool = False, reason: str | None = None) -> None:
        was_open, self._ran = self.is_open, self.seconds
        self.paused, self.parked_reason = self.paused or paused, reason or self.parked_reason
        self._tell(event)
        for act in self._on_closing if was_open else ():
            act()


class Controlled:
    """What a workflow answers to that can be held up. Everything may be said twice, which then changes nothing.

    Args:
        searchable: Whether this server knows our search attributes.
        limits: What the run may take.
        seconds: How long earlier legs of it took.
    """

    def __init__(self, *, searchable: bool, limits: Limits | None = None, seconds: float = 0.0) -> None:
        self.searchable = searchable
        self._is_to_show = False
        self.gate = Gate(self.on_gate, seconds=seconds)
        self.ledger = Ledger(limits, seconds=lambda: self.gate.seconds)

    @workflow.update
    def pause(self) -> ControlStatus:
        """Finish what is under way, and begin nothing new until resumed."""
        self.gate.pause()
        return self.control()

    @pause.validator
    def _may_be_paused(self) -> None:
        _see_that_it_is_whole("pause")

    @workflow.update
    def resume(self) -> ControlStatus:
        """Go on."""
        if self.standing != "running":
            self.gate.resume()
            self.on_resume()
        return self.control()

    @resume.validator
    def _may_be_resumed(self) -> None:
        _see_that_it_is_whole("resume")
        if self.gate.parked_for_budget:
            raise ApplicationError(str(self.gate.parked_reason), type="RunConflictError")

    @workflow.update
    def raise_budget(self, limits: NewLimits) -> ControlStatus:
        """Take these limits in place of those there are; a run that is parked because one was reached goes on."""
        before = Limits().but(self.ledger.limits or Limits())
        raised = before.but(limits)
        if raised != before:
            self.ledger.limits = raised
            self.on_budget(raised)
        if self.gate.parked_for_budget:
            self.gate.resume()
        return self.control()

    @raise_budget.validator
    def _may_be_raised(self, limits: NewLimits) -> None:
        _see_that_it_is_whole("raise the budget of")
        if Limits().but(limits) == Limits():
            raise ApplicationError("give a limit: usd, lm_calls, tokens or seconds", type="RunConflictError")
        if limits.usd is not None and self.ledger.usage.cost_usd is None:
            raise ApplicationError(
                "what the run costs is not known, for it calls a model without a known price: "
                "set limits of lm_calls, tokens or seconds instead",
                type="RunConflictError",
            )
        if limits.less(self.ledger.usage, seconds=self.gate.seconds).spent:
            raise ApplicationError(
                f"a budget of {limits} is no more than the run took already: {taken(self.ledger.usage)}, "
                f"{self.gate.seconds:.0f} s",
                type="RunConflictError",
            )

    @workflow.query
    def control(self) -> ControlStatus:
        """Whether the run is held up, and why."""
        return ControlStatus(
            status=self.standing,
            parked_reason=self.gate.parked_reason or self.waits_for(),
            budget=self.ledger.limits,
            spent=self.ledger.usage,
            approvals=self.approvals_awaited(),
        )

    @property
    def standing(self) -> Standing:
        """Whether it is held up, in a word: by its gate, or because it waits for a person."""
        return "parked" if self.gate.is_open and self.waits_for() else self.gate.standing

    def waits_for(self) -> str | None:
        """What the run waits for though its gate is open; None if it goes on."""
        return None

    def approvals_awaited(self) -> tuple[AwaitedApproval, ...]:
        """Calls of tools that wait for a person."""
        return ()

    def hold_up(self, held: Held, *, resumes: int) -> None:
        """What follows from what holds up an activity: the run is parked, unless more of its budget can be lent.

        Args:
            held: What holds it up.
            resumes: How often the run had been resumed as the activity began. Whoever resumed it since may have cured
                what the activity met before: it is tried again first.
        """
        if not held.is_budget:
            if resumes == self.gate.resumes:
                self.gate.park(held.reason)
        elif self.ledger.is_used_up:
            self.on_budget_reached(
                f"{BUDGET_REACHED}: {self.ledger.limits} may be taken, and {taken(self.ledger.usage)} were; "
                "raise it with `dspex runs raise-budget`"
            )

    def on_budget_reached(self, reason: str) -> None:
        """Wait for a larger one."""
        self.gate.park(reason, for_budget=True)

    def on_budget(self, limits: Limits) -> None:
        """What follows from another budget."""
        del limits

    def details(self) -> str:
        """Where the run stands, in Markdown."""
        return ""

    def show(self) -> None:
        """Show where the run stands, in Temporal's Web UI: once a turn of the workflow, however much happens in it."""
        if not self._is_to_show:
            self._is_to_show = True
            asyncio.get_running_loop().call_soon(self.show_now)

    def show_now(self) -> None:
        """Do it at once, if it is still to be done: a workflow that ends has no more turns."""
        if self._is_to_show:
            self._is_to_show = False
            workflow.set_current_details("\n\n".join(filter(None, [held_up(self.gate), self.details()])))

    def on_resume(self) -> None:
        """What else is to go on when somebody says so."""

    def on_gate(self, event: Event) -> None:
        """What follows from this, which has just happened."""
        del event
        self.show()
        if self.searchable:
            workflow.upsert_search_attributes([STATUS.value_set(self.standing)])  # pyright: ignore[reportUnknownMemberType]


def _see_that_it_is_whole(word: str) -> None:
    """Let nobody hold up, or let go on, a part of a run without the run, which would wait for it or lose count."""
    parent = workflow.info().parent
    if parent is not None:
        raise ApplicationError(
            f"{workflow.info().workflow_id} is part of run {parent.workflow_id}: {word} that", type="RunConflictError"
        )


def taken(usage: Usage) -> str:
    """What was taken, for a person."""
    cost = "" if usage.cost_usd is None else f", ${usage.cost_usd:.4f}"
    return f"{usage.lm_calls:,} LM calls, {tokens_of(usage):,} tokens{cost}"


def held_in(error: FailureError) -> Held | None:
    """What holds up the activity that failed so, if a person can cure it."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.details:
        return Held.model_validate(cause.details[0])
    if isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_CLOSE:
        return Held(reason="an activity did not get done within a day: see whether workers run, and what they say")
    return None


def cancellations() -> int:
    """How often the current task was told to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def heed_cancellation(*, since: int = 0) -> None:
    """End the current task, if it was told to more often than that.

    Where that comes together with what a task waits for, an activity's result or the start of a child workflow, the SDK
    gives it the latter and forgets the former: after each of these, it is to be asked for.

    Raises:
        CancelledError: asyncio's.
    """
    if cancellations() > since:
        raise asyncio.CancelledError


def held_up(gate: Gate) -> str:
    """What holds a run up and how it goes on, in Markdown; nothing if it is not held up."""
    if gate.is_open:
        return ""
    reason = f"**{gate.standing}** {gate.parked_reason or ''}".strip()
    word = "raise-budget" if gate.parked_for_budget else "resume"
    return f"{reason}\n\nGo on: `dspex runs {word} {workflow.info().workflow_id}`"


def in_background(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    """Keep a task that nobody waits for from being collected before it is done."""
    tasks.add(task)
    task.add_done_callback(tasks.discard)
