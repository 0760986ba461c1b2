from typing import Any, Literal

from dspex_core.budget import Limits
from dspex_core.events._base import EventModel
from dspex_core.usage import Usage


class OptimizerStarted(EventModel):
    """A compile began."""

    type: Literal["optimizer_started"] = "optimizer_started"
    optimizer: str


class PhaseStarted(EventModel):
    """The optimizer turned to its next task.

    Attributes:
        phase: What it does now, in a few words; one of few in a run.
        detail: More about it, for a person.
        rows: Rows this phase goes through, if that is known.
    """

    type: Literal["phase_started"] = "phase_started"
    phase: str
    detail: str = ""
    rows: int | None = None


class RowsEvaluated(EventModel):
    """Some more rows of the phase are done.

    Attributes:
        rows: Rows done so far in this phase.
        score: Mean score of those rows in percent, or None where rows are not scored.
        usage: What this phase took so far.
    """

    type: Literal["rows_evaluated"] = "rows_evaluated"
    rows: int
    score: float | None = None
    usage: Usage = Usage()


class CandidateProposed(EventModel):
    """A candidate is about to be scored.

    Attributes:
        index: Its number, which `candidate_evaluated` has, too; 0 for the program as it was given.
        label: How it came to be.
        state: Its instructions and demos by predictor, as JSON that `ProgramState.model_validate` reads.
        parent: Index of the candidate that it was made from, if it was made from one.
        merged_with: Index of a second one that it was made from, if there is one.
        rows: Rows it is to be scored on, where that is not all of them.
    """

    type: Literal["candidate_proposed"] = "candidate_proposed"
    index: int
    label: str
    state: dict[str, Any]
    parent: int | None = None
    merged_with: int | None = None
    rows: int | None = None


class CandidateEvaluated(EventModel):
    """A candidate got its score.

    Attributes:
        index: 0 for the program as it was given.
        label: How the candidate came to be.
        score: Percent on the validation set.
        failed: Rows on which the program failed.
        parent: Index of the candidate that it was made from, if it was made from one.
        merged_with: Index of a second one that it was made from, if there is one.
        rows: Rows it was scored on, where that is not all of them.
        estimate: Percent it would probably have come to, where a race stopped its evaluation.
    """

    type: Literal["candidate_evaluated"] = "candidate_evaluated"
    index: int
    label: str
    score: float
    failed: int = 0
    parent: int | None = None
    merged_with: int | None = None
    rows: int | None = None
    estimate: float | None = None


class OptimizationStep(EventModel):
    """Candidates that were scored side by side all have their scores: a step of the search is done.

    Attributes:
        step: Its number in the search, from 1 on; the program as it was given is the first.
        candidates: Indices of the candidates.
        best: Index of the one that scored best, the later one of equals.
        score: Its score in percent.
    """

    type: Literal["optimization_step"] = "optimization_step"
    step: int
    candidates: tuple[int, ...]
    best: int
    score: float


class UsageAdded(EventModel):
    """A phase ended; this is what it took in all."""

    type: Literal["usage_added"] = "usage_added"
    usage: Usage


class BudgetSet(EventModel):
    """From now on a run may take this much in all; None is as much as it likes."""

    type: Literal["budget_set"] = "budget_set"
    budget: Limits | None = None


class RunPaused(EventModel):
    """Somebody paused a durable run; what was under way is finished, and nothing new begins."""

    type: Literal["run_paused"] = "run_paused"


class RunParked(EventModel):
    """A durable run cannot go on by itself; it keeps everything and waits until somebody resumes it.

    Attributes:
        reason: What keeps it, and what to do about it.
    """

    type: Literal["run_parked"] = "run_parked"
    reason: str


class RunResumed(EventModel):
    """A durable run that was paused or parked goes on."""

    type: Literal["run_resumed"] = "run_resumed"


class ApprovalRequested(EventModel):
    """A model called a tool that needs a person's approval; the call waits until it is approved or rejected.

    Attributes:
        call_id: Names the call in the run.
        tool: The tool's name.
        args: The arguments that the model wrote.
    """

    type: Literal["approval_requested"] = "approval_requested"
    call_id: str
    tool: str
    args: dict[str, Any]


class ApprovalDecided(EventModel):
    """A person approved or rejected a call.

    Attributes:
        call_id: The call.
        tool: The tool's name.
        approved: Whether it may be made.
        reason: What the person said.
    """

    type: Literal["approval_decided"] = "approval_decided"
    call_id: str
    tool: str
    approved: bool
    reason: str = ""


class TextStreamed(EventModel):
    """A durable run of a program, started to be streamed, has another piece of an output; see `StreamedPiece`.

    Attributes:
        predictor: Which predictor of the program it is from.
        field: The output field.
        text: The piece.
        attempt: How often the predictor has asked anew; earlier pieces of its call do not count then.
    """

    type: Literal["text_streamed"] = "text_streamed"
    predictor: str
    field: str
    text: str
    attempt: int = 0


class RunHeldUp(EventModel):
    """Something keeps a durable run from going on; it is tried again until it works.

    Attributes:
        reason: What it is.
    """

    type: Literal["run_held_up"] = "run_held_up"
    reason: str


class OptimizerFinished(EventModel):
    """A compile ended with a result."""

    type: Literal["optimizer_finished"] = "optimizer_finished"
    score: float | None = None


class RunFinished(EventModel):
    """A durable run ended; this is the last event of its log.

    Attributes:
        status: How it ended.
        score: Best score in percent, if it completed.
        reason: Why it failed.
    """

    type: Literal["run_finished"] = "run_finished"
    status: Literal["completed", "cancelled", "failed"]
    score: float | None = None
    reason: str | None = None
