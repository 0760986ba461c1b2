"""What runs are started with, answer to, and end with."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from dspex_core.budget import Budget, Limits
from dspex_core.optimizers import Candidate, Fold
from dspex_core.progress import Progress
from dspex_core.references import CodeReference
from dspex_core.requests import Held, Kept, ProgramOutline
from dspex_core.seam import Decision, LMConfig, StoredDataset
from dspex_core.usage import Usage

from ._options import ACTIVITIES_A_LEG

Standing = Literal["running", "paused", "parked"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class AwaitedApproval(_Value):
    """A call of a tool that waits until a person approves or rejects it.

    Attributes:
        run_id: The run whose program made the call; a supervised part's has an id of its own.
        call_id: Names the call in its run, such as "send_mail-1".
        tool: The tool's name.
        args: The arguments that the model wrote.
    """

    run_id: str
    call_id: str
    tool: str
    args: dict[str, Any]


class _Word(_Value):
    """What a person writes, maybe by hand: a field that is not known is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Verdict(_Word):
    """What the updates `approve` and `reject` take.

    Attributes:
        call_id: The call that is decided on.
        reason: Why; the model reads it where the call is rejected.
    """

    call_id: str
    reason: str = ""


class NewLimits(Limits, _Word):
    """What the update `raise_budget` takes: limits in place of those of the same kind."""


class ControlStatus(_Value):
    """Whether a run that has not ended is held up; the answer to every update, and to the query `control`.

    Attributes:
        status: In a word.
        parked_reason: What it waits for.
        budget: What it may take in all; None if nothing limits it.
        spent: What it took so far, as far as that is known.
        approvals: Calls of tools that wait for a person's decision.
    """

    status: Standing = "running"
    parked_reason: str | None = None
    budget: Limits | None = None
    spent: Usage = Usage()
    approvals: tuple[AwaitedApproval, ...] = ()


class CompileInput(_Value):
    """What a compile needs.

    Attributes:
        optimizer: Its registered name.
        optimizer_code: Where it is, if it is a user's own.
        options: Its options but for the metric.
        program: The student.
        metric: What scores predictions.
        lm: The model in force.
        trainset: Rows to learn from.
        valset: Rows to score candidates on; with folds, the training rows.
        teacher: Another program to learn from.
        teacher_lm: The model the teacher runs on.
        chunk_rows: Rows an evaluation activity takes; None leaves it to the planner.
        searchable: Whether this server knows our search attributes.
        activity_queue: Task queue of its activities; None is the workflow's own.
        folds: Folds that the training rows are split into; None scores on the validation set.
        budget: What it may take.
        resumed: Whether it goes on from what earlier runs of its id finished.
    """

    optimizer: str
    options: dict[str, Any]
    program: ProgramOutline
    metric: CodeReference
    lm: LMConfig
    trainset: StoredDataset
    valset: StoredDataset
    teacher: ProgramOutline | None = None
    teacher_lm: LMConfig | None = None
    chunk_rows: int | None = None
    searchable: bool = True
    activity_queue: str | None = None
    folds: int | None = None
    budget: Budget | None = None
    resumed: bool = False
    optimizer_code: CodeReference | None = None


class CompileOutput(_Value):
    """What a compile ends with: `CompileResult`, written down, and where its validation set is.

    The scores are None if it ended early, before a candidate had one. `cancelled` says that somebody ended it.
    """

    program: ProgramOutline
    score: float | None
    baseline_score: float | None
    candidates: tuple[Candidate, ...]
    usage: Usage
    scored_rows: tuple[int, ...] = ()
    baseline_scores: tuple[float, ...] = ()
    best_scores: tuple[float, ...] = ()
    valset: StoredDataset | None = None
    ended_early: str | None = None
    cancelled: bool = False
    folds: tuple[Fold, ...] = ()


class CompileStatus(_Value):
    """The answer to a compile's `status` query.

    Attributes:
        progress: Where the search stands, as far as the compile itself knows.
        evaluation_ids: Workflow ids of the evaluations under way; ask them for their rows.
        control: Whether it is held up.
    """

    progress: Progress
    evaluation_ids: tuple[str, ...] = ()
    control: ControlStatus = ControlStatus()


class EvaluationInput(_Value):
    """What an evaluation needs.

    Attributes:
        program: What to run.
        metric: What scores predictions.
        lm: The model in force.
        dataset: Where the rows are.
        chunk_rows: Rows an activity takes; None leaves it to the planner.
        rows: Indices of the rows; None takes all.
        compiling: Whether this is part of a compile.
        done: Results of earlier legs of this evaluation: of its first rows, unless it says of which.
        activity_queue: Task queue of its activities; None is the workflow's own.
        searchable: Whether the evaluation is a run of its own, on a server that knows our search attributes.
        allowance: What its calls may take.
        kept: Where results are kept for a run that goes on from this one.
        seconds: How long earlier legs took.
        chunks_a_leg: Chunks after which it continues as new.
        untold: That of an earlier evaluation of these rows, or of an earlier leg.
    """

    program: ProgramOutline
    metric: CodeReference
    lm: LMConfig
    dataset: StoredDataset
    chunk_rows: int | None = None
    rows: tuple[int, ...] | None = None
    done: "EvaluationOutput | None" = None
    activity_queue: str | None = None
    compiling: bool = False
    searchable: bool = False
    allowance: Limits | None = None
    kept: Kept | None = None
    seconds: float = 0.0
    chunks_a_leg: int = ACTIVITIES_A_LEG
    untold: tuple[str, ...] = ()


class EvaluationOutput(_Value):
    """What an evaluation ends with.

    Attributes:
        scores: A score a row, in the order of the rows.
        failed_rows: Indices of the rows on which the program failed.
        failures: The first few of them.
        usage: What it took.
        rows: Digests of the artifacts that hold every row's result, in the order of the rows.
        indices: The rows, where it ended before it had gone through all of them.
        held: What held it up, if it did not end because it was told to.
        untold: Whom calls were booked to of which it could not be told what they took.
    """

    scores: tuple[float, ...] = ()
    failed_rows: tuple[int, ...] = ()
    failures: tuple[str, ...] = ()
    usage: Usage = Usage()
    rows: tuple[str, ...] = ()
    indices: tuple[int, ...] | None = None
    held: Held | None = None
    untold: tuple[str, ...] = ()


class EvaluationStatus(_Value):
    """The answer to an evaluation's `status` query: rows done, of how many, their mean score, what they took."""

    rows_done: int
    rows_total: int
    score: float | None
    usage: Usage


class PartStanding(_Value):
    """What a part of a program run tells the run whenever it is held up or goes on.

    Attributes:
        run_id: The part.
        waits_for: What it waits for; None if it goes on.
        approvals: Calls of tools in it that wait for a person's decision.
        begins_anew: Whether it has just begun another try, and waits to hear that the run is not held up.
    """

    run_id: str
    waits_for: str | None = None
    approvals: tuple[AwaitedApproval, ...] = ()
    begins_anew: bool = False


class ProgramRunInput(_Value):
    """What a program run needs.

    Attributes:
        program: What to run.
        lm: The model in force.
        inputs: The program's inputs by name.
        searchable: Whether this server knows our search attributes.
        rollout: Which sample the run is; 0 is the ordinary answer.
        rollout_temperature: The sample's temperature.
        stream: Whether pieces of its outputs are to be among its events.
        calls_a_leg: Calls of activities and parts after which it continues as new.
        journal: What calls of earlier legs gave; see `Journal`.
        decided: What persons decided in earlier legs, by call.
        events: How many events earlier legs entered into its log.
        restarts: How often the run was begun anew, as a part, before this leg.
        limits: What it may take in all, if an earlier leg was told so.
        seconds: How long earlier legs took.
    """

    program: ProgramOutline
    lm: LMConfig
    inputs: dict[str, Any]
    searchable: bool = False
    rollout: int = 0
    rollout_temperature: float = 1.0
    stream: bool = False
    calls_a_leg: int = ACTIVITIES_A_LEG
    journal: dict[str, list[Any]] = {}
    decided: dict[str, Decision] = {}
    events: int = 0
    restarts: int = 0
    limits: Limits | None = None
    seconds: float = 0.0
