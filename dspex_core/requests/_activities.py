"""What crosses from a workflow to its activities and back; activities are called by these names."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from dspex_core.budget import Limits
from dspex_core.events import TextStreamed
from dspex_core.record import Example
from dspex_core.references import CodeReference
from dspex_core.requests._outline import ProgramOutline
from dspex_core.seam import FineTuningRequest, LMConfig, LMRequest, Passage, StoredDataset, Trial
from dspex_core.tools import ToolSpec
from dspex_core.usage import Usage

EVALUATE_CHUNK = "evaluate_chunk"
TRACE_ROWS = "trace_rows"
READ_ROWS = "read_rows"
GENERATE = "generate"
CALL_TOOL = "call_tool"
RUN_PROGRAM = "run_program"
RETRIEVE = "retrieve"
SUGGEST = "suggest"
RUN_CODE = "run_code"
START_FINE_TUNING = "start_fine_tuning"
FOLLOW_FINE_TUNING = "follow_fine_tuning"
CANCEL_FINE_TUNING = "cancel_fine_tuning"
FIND_ROWS = "find_rows"
CHECK_CODE = "check_code"

BREAKER_CHANGED = "breaker_changed"
"""Signal of an activity to its run: it leaves a model alone, or has an answer again."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Held(_Value):
    """What holds up an activity until a person does something: the first of its failure's details.

    Attributes:
        kind: Tells it from other details.
        reason: What it is, and what to do about it.
        is_budget: Whether its allowance is used up.
        spent: What the activity took.
    """

    kind: Literal["held"] = "held"
    reason: str
    is_budget: bool = False
    spent: Usage = Usage()


class Kept(_Value):
    """Under which name the answer to a request is kept in the artifact store, for whoever goes on from this run.

    Attributes:
        name: The name, of equal requests the same in the run that goes on.
        look: Whether an earlier run may have kept one.
    """

    name: str
    look: bool = False


class EvaluateChunk(_Value):
    """Score a program on the rows from `start` up to, not including, `stop`; or on those of `rows`.

    The program is the activity's second argument: with large demos it is large, and the same for every chunk.
    `compiling` says that it is part of a compile, `allowance` what its calls may take, and `kept` where the answer is
    kept, here and below; `run_id` is the compile's. `payer` is whom the calls are booked to, if not to the activity;
    `heir_of` are payers that ended without telling what they had paid.
    """

    metric: CodeReference
    lm: LMConfig
    dataset: StoredDataset
    start: int
    stop: int
    rows: tuple[int, ...] | None = None
    compiling: bool = False
    allowance: Limits | None = None
    run_id: str | None = None
    kept: Kept | None = None
    payer: str | None = None
    heir_of: tuple[str, ...] = ()

    @property
    def indices(self) -> Sequence[int]:
        """Indices of the rows."""
        return range(self.start, self.stop) if self.rows is None else self.rows


class ChunkEvaluation(_Value):
    """What became of a chunk.

    Attributes:
        scores: A score a row, in order.
        failed_rows: Indices of the rows on which the program failed.
        failures: The first few of them.
        usage: What it took.
        rows: Digest of the artifact with a `RowResult` for every row.
        indices: The rows, where it ended before it had gone through all of them.
        held: What held it up, if it did not end because it was told to.
    """

    scores: tuple[float, ...]
    failed_rows: tuple[int, ...] = ()
    failures: tuple[str, ...]
    usage: Usage
    rows: str
    indices: tuple[int, ...] | None = None
    held: Held | None = None


class FindRows(_Value):
    """Find what an earlier run finished of an evaluation; `kept` is that of its chunks."""

    kept: Kept


class FoundRows(_Value):
    """What was finished: chunks that share no row. What they took was paid for, and counts as found in a cache."""

    chunks: tuple[ChunkEvaluation, ...] = ()


class TraceRows(_Value):
    """Run a program on some training rows and keep what each predictor saw and said; see `TraceRequest`."""

    program: ProgramOutline
    metric: CodeReference | None
    lm: LMConfig
    dataset: StoredDataset
    rows: tuple[int, ...]
    wanted: int | None
    threshold: float | None
    rounds: int
    rollout: int = 0
    keep: Literal["accepted", "all"] = "accepted"
    compiling: bool = False
    allowance: Limits | None = None
    kept: Kept | None = None


class Suggest(_Value):
    """Say which combinations to try next; see `Runtime.suggest`."""

    space: dict[str, int]
    history: tuple[Trial, ...]
    count: int
    seed: int
    kept: Kept | None = None


class Suggestions(_Value):
    """The combinations: for each, the number of the choice in every dimension."""

    combinations: tuple[dict[str, int], ...]


class StartFineTuning(_Value):
    """Have a model trained; see `Runtime.start_fine_tuning`. `lm` is the model if the request names none."""

    program: ProgramOutline
    request: FineTuningRequest
    lm: LMConfig


class ReadRows(_Value):
    """Read rows of a data set."""

    dataset: StoredDataset
    indices: tuple[int, ...]


class Rows(_Value):
    """Rows of a data set, written down."""

    inputs: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    def examples(self) -> list[Example]:
        """The rows as examples that know their inputs."""
        return [Example(row).with_inputs(*self.inputs) for row in self.rows]


class Generate(_Value):
    """Ask a model; `stream_to` is the call's number in a workflow that is to be told the answer while it is written."""

    request: LMRequest
    lm: LMConfig
    compiling: bool = False
    allowance: Limits | None = None
    kept: Kept | None = None
    stream_to: int | None = None


class StreamedText(_Value):
    """Some of an answer's text, as an activity tells it to its workflow, by the signal `streamed`.

    Attributes:
        call: The call's number in the workflow.
        start: How many characters come before it; another try of the activity begins at 0 again.
        text: The text.
    """

    call: int
    start: int
    text: str


class StreamedPieces(_Value):
    """Pieces of output fields that a program in one activity gave, by the signal `streamed_pieces`."""

    pieces: tuple[TextStreamed, ...]


class CallTool(_Value):
    """Call a tool; `lm` is in force if it asks a model, and `approved` says that a person approved the call."""

    tool: ToolSpec
    args: dict[str, Any]
    lm: LMConfig
    allowance: Limits | None = None
    approved: bool = False


class RunCode(_Value):
    """Run a model's code after the cells before it; `lm` is in force if one of its tools asks a model.

    Attributes:
        code: The source.
        tools: What it may call.
        session: Digest of the artifact with what the cell before it left; None for the first one.
        lm: The model in force.
        approved: Whether a person approved that tools are called which need it.
    """

    code: str
    tools: tuple[ToolSpec, ...]
    session: str | None
    lm: LMConfig
    allowance: Limits | None = None
    approved: bool = False


class CodeAnswer(_Value):
    """What came of a cell: a `CodeResult` whose session is in the artifact store, under this digest."""

    text: str
    failed: bool
    session: str | None
    usage: Usage = Usage()


class Search(_Value):
    """Search with the retriever that is imported from there; `lm` is in force if it asks a model."""

    query: str
    k: int
    retriever: CodeReference
    lm: LMConfig


class SearchAnswer(_Value):
    """The passages found, the best one first, and what finding them took."""

    passages: tuple[Passage, ...]
    usage: Usage = Usage()


class CheckCode(_Value):
    """See whether code that a workflow is to import is here, trusted, and the same as where the run was started.

    `what` says what it is, for the error.
    """

    code: CodeReference
    what: str


class RunProgram(_Value):
    """Run a program once; `rollout` and its temperature say which sample it is.

    With `stream`, its workflow is told the pieces of its outputs as they come.
    """

    program: ProgramOutline
    lm: LMConfig
    inputs: dict[str, Any]
    allowance: Limits | None = None
    rollout: int = 0
    rollout_temperature: float = 1.0
    stream: bool = False


class ProgramAnswer(_Value):
    """A program's prediction, written down."""

    outputs: dict[str, Any]
    usage: Usage
