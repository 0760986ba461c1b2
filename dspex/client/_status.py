from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict
from temporalio.client import WorkflowExecution, WorkflowExecutionStatus

from dspex._rooms import workflows
from dspex_core.budget import BUDGET_REACHED, Limits
from dspex_core.optimizers import OPTIMIZERS
from dspex_core.progress import Progress
from dspex_core.usage import Usage

Status = Literal["queued", "running", "paused", "parked", "completed", "cancelled", "failed"]

UNDER_WAY: tuple[Status, ...] = ("queued", "running", "paused", "parked")
"""Statuses of runs that have not ended."""

_STATUSES: dict[WorkflowExecutionStatus, Status] = {
    WorkflowExecutionStatus.RUNNING: "running",
    WorkflowExecutionStatus.CONTINUED_AS_NEW: "running",
    WorkflowExecutionStatus.COMPLETED: "completed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "cancelled",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.TIMED_OUT: "failed",
}


class RunStatus(BaseModel):
    """Where a durable run stands.

        status = await client.get_run("triage-1").status()
        print(status.status, status.score, status.seconds)

    Attributes:
        id: The run's id, which is its workflow's.
        status: What it is doing, in a word.
        optimizer: Registered name of its optimizer, or the class of one of a user's own; its kind, if it is no compile.
        is_compile: Whether it searches for a program, rather than runs one.
        progress: Phase, rows, candidates; None while no worker answers.
        score: Best score so far in percent.
        baseline_score: Score of the program as it was given.
        usage: What it took so far.
        seconds: Since it was started, until now or its end.
        web_ui: Its page in Temporal's Web UI.
        failure: Why it failed.
        parked_reason: What a parked run waits for.
        budget: What it may take in all.
        approvals: Calls of tools that wait for a person; see `Run.approve`.
        note: What keeps it from being known better, for instance that no worker is there.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    status: Status
    optimizer: str
    is_compile: bool = True
    progress: Progress | None = None
    score: float | None = None
    baseline_score: float | None = None
    usage: Usage | None = None
    seconds: float = 0.0
    web_ui: str | None = None
    failure: str | None = None
    parked_reason: str | None = None
    budget: Limits | None = None
    approvals: "tuple[workflows.AwaitedApproval, ...]" = ()
    note: str | None = None


@dataclass(frozen=True)
class RunSummary:
    """A line of `Client.list_runs` or `list_waiting`; what the server's search attributes do not tell is None."""

    id: str
    status: Status
    optimizer: str
    phase: str | None
    score: float | None
    started: str
    program: str | None = None
    lm_calls: int | None = None
    cost_usd: float | None = None


def searchable_status(execution: WorkflowExecution) -> Status:
    """A run's status in our words, as well as Temporal can tell without asking the run itself."""
    status = _STATUSES[execution.status] if execution.status else "running"
    told = execution.typed_search_attributes.get(workflows.STATUS)
    if status == "running" and told in UNDER_WAY:
        return told
    return "cancelled" if (status, told) == ("completed", "cancelled") else status


def early_end_in_words(reason: str | None, *, scored: bool) -> str | None:
    """Why a compile ended before its search was done; None if it did not.

        print(early_end_in_words(result.ended_early, scored=result.score is not None))

    Args:
        reason: As `CompileResult.ended_early` has it.
        scored: Whether any candidate was scored by then.
    """
    if reason is None:
        return None
    return f"ended early: {reason}" + ("" if scored else ", before anything was scored")


def word_after(reason: str) -> str:
    """The command of `dspex runs` by which a run goes on that was parked for this reason.

    print("dspex runs", word_after(status.parked_reason or ""), status.id)
    """
    return "raise-budget" if reason.startswith(BUDGET_REACHED) else "resume"


def summary_of(execution: WorkflowExecution) -> RunSummary:
    """What the server tells of a run in a list."""
    attributes = execution.typed_search_attributes
    return RunSummary(
        id=execution.id,
        status=searchable_status(execution),
        optimizer=optimizer_of(execution),
        phase=attributes.get(workflows.PHASE),
        score=attributes.get(workflows.BEST_SCORE),
        started=execution.start_time.isoformat(timespec="seconds"),
        program=attributes.get(workflows.PROGRAM),
        lm_calls=attributes.get(workflows.LM_CALLS),
        cost_usd=attributes.get(workflows.COST_USD),
    )


def optimizer_of(execution: WorkflowExecution) -> str:
    """What a run searches with: a registered name, or the class of a user's own where the server knows that."""
    kind = execution.workflow_type
    if kind == workflows.OWN_OPTIMIZER:
        return execution.typed_search_attributes.get(workflows.OPTIMIZER) or kind
    return optimizer_name(kind)


def optimizer_name(workflow_type: str) -> str:
    """The registered name of the optimizer that a workflow type is of."""
    return next((name for name, found in OPTIMIZERS.items() if found.__name__ == workflow_type), workflow_type)
