"""What runs are started with, answer to, and end with."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from dspex_core.optimizers import Candidate
from dspex_core.progress import Progress
from dspex_core.references import CodeReference
from dspex_core.requests import ProgramOutline
from dspex_core.seam import LMConfig, StoredDataset
from dspex_core.usage import Usage


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class CompileInput(_Value):
    """What a compile needs.

    Attributes:
        optimizer: Its registered name.
        options: Its options but for the metric.
        program: The student.
        metric: What scores predictions.
        lm: The model in force.
        trainset: Rows to learn from.
        valset: Rows to score candidates on.
        teacher: Another program to learn from.
        teacher_lm: The model the teacher runs on.
        chunk_rows: Rows an evaluation activity takes; None leaves it to the planner.
        searchable: Whether this server knows our search attributes.
        activity_queue: Task queue of its activities; None is the workflow's own.
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


class CompileOutput(_Value):
    """What a compile ends with: `CompileResult`, written down, and where its validation set is."""

    program: ProgramOutline
    score: float
    baseline_score: float
    candidates: tuple[Candidate, ...]
    usage: Usage
    scored_rows: tuple[int, ...] = ()
    baseline_scores: tuple[float, ...] = ()
    best_scores: tuple[float, ...] = ()
    valset: StoredDataset | None = None


class CompileStatus(_Value):
    """The answer to a compile's `status` query.

    Attributes:
        progress: Where the search stands, as far as the compile itself knows.
        evaluation_ids: Workflow ids of the evaluations under way; ask them for their rows.
    """

    progress: Progress
    evaluation_ids: tuple[str, ...] = ()


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
        done: Results of earlier legs of this evaluation; see `EvaluationOutput`.
        activity_queue: Task queue of its activities; None is the workflow's own.
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


class EvaluationOutput(_Value):
    """What an evaluation ends with.

    Attributes:
        scores: A score a row, in the order of the rows.
        failed_rows: Indices of the rows on which the program failed.
        failures: The first few of them.
        usage: What it took.
        rows: Digests of the artifacts that hold every row's result, in the order of the rows.
    """

    scores: tuple[float, ...] = ()
    failed_rows: tuple[int, ...] = ()
    failures: tuple[str, ...] = ()
    usage: Usage = Usage()
    rows: tuple[str, ...] = ()


class EvaluationStatus(_Value):
    """The answer to an evaluation's `status` query: rows done, of how many, their mean score, what they took."""

    rows_done: int
    rows_total: int
    score: float | None
    usage: Usage


class ProgramRunInput(_Value):
    """What a program run needs."""

    program: ProgramOutline
    lm: LMConfig
    inputs: dict[str, Any]
