from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from dspex_core.errors import ArtifactError, EvaluationError, InputError, LMError, TrustError
from dspex_core.events import Event
from dspex_core.record import Example, Prediction
from dspex_core.seam._code import CodeCell, CodeResult
from dspex_core.seam._fine_tuning import FineTuningJob, FineTuningRequest
from dspex_core.seam._lm import LMConfig, LMRequest, LMResponse
from dspex_core.seam._program import Program
from dspex_core.seam._retrieval import Passage, RetrieveRequest
from dspex_core.seam._score import MetricLike
from dspex_core.seam._suggest import Trial
from dspex_core.seam._tools import ToolCall, ToolResult
from dspex_core.usage import Usage

ENDS_ALIKE = (InputError, LMError, TrustError, ArtifactError)
"""Errors after which a part is not begun anew: it would end alike, or has waited long enough."""


class StoredDataset(BaseModel):
    """A data set kept in the artifact store: its digest and how many rows it has."""

    model_config = ConfigDict(frozen=True)

    digest: str
    size: int

    def __len__(self) -> int:
        return self.size


Dataset = Sequence[Example] | StoredDataset
"""Rows at hand, or rows in a store; a runtime can read its own kind."""


class Evaluation(BaseModel):
    """How a program did on a data set.

    Attributes:
        scores: A score a row, in the order of the rows; 0.0 is perfect failure, 1.0 perfect.
        failed_rows: Indices of the rows that the program itself failed on; they score 0.0.
        failures: The first few of them, as "row 7: what happened".
        usage: What it took.
    """

    model_config = ConfigDict(frozen=True)

    scores: tuple[float, ...]
    failed_rows: tuple[int, ...] = ()
    failures: tuple[str, ...] = ()
    usage: Usage = Usage()

    @property
    def failed(self) -> int:
        """How many rows the program itself failed on."""
        return len(self.failed_rows)

    @property
    def score(self) -> float:
        """Mean score in percent, 0 to 100.

        Raises:
            EvaluationError: If there was no row.
        """
        return percent(self.scores)


class RowTrace(BaseModel):
    """A program's run on one row: for demos to be made of, or to reflect on.

    Attributes:
        row: Index of the row in its data set.
        accepted: Whether the metric was satisfied.
        demos: Inputs and outputs of every predictor that took part, by predictor name, in the order of the calls; those
            before the failure, where all runs are kept.
        score: What the metric gave, 0.0 if the program failed; None without a metric.
        feedback: The metric's words, if it gave any.
        feedback_by_predictor: Its words on each predictor's part, if it judges parts and all runs are kept.
        outputs: What the program answered, where all runs are kept.
        failure: What went wrong, if the program failed.
        usage: What it took.
    """

    model_config = ConfigDict(frozen=True)

    row: int
    accepted: bool
    demos: dict[str, list[dict[str, Any]]]
    score: float | None = None
    feedback: str = ""
    feedback_by_predictor: dict[str, str] = {}
    outputs: dict[str, Any] = {}
    failure: str | None = None
    usage: Usage = Usage()


class TraceRequest(BaseModel):
    """Which rows to trace, and what counts as success.

    Attributes:
        rows: Indices into the data set, in the order to try them; each at most once.
        wanted: Stop once so many rows were accepted; None tries all.
        metric: The metric, or None: then every run that does not fail is accepted.
        threshold: Least score to accept; None accepts whatever is truthy.
        rounds: Tries a row gets; each after the first is a fresh sample at temperature 1.
        rollout: The sample that a row's first try is; 0 is the ordinary answer, any other is at temperature 1.
        lm: The model to run on; None for the runtime's own.
        keep: "accepted" looks for runs worth showing: a row is left out of the program's demos while it is run, and the
            metric is given the trace. "all" is an evaluation with eyes: rows run and score as in `evaluate`, and every
            run is kept, whatever became of it.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    rows: tuple[int, ...]
    wanted: int | None = None
    metric: MetricLike | None = None
    threshold: float | None = None
    rounds: int = 1
    rollout: int = 0
    lm: LMConfig | None = None
    keep: Literal["accepted", "all"] = "accepted"


class TraceResult(BaseModel):
    """What a `TraceRequest` found.

    Attributes:
        accepted: The successful runs, in the order of the rows.
        rejected: The others, where all are kept.
        tried: Rows tried, from the first of the request's on.
        runs: Runs of the program that took: more than `tried` where rows were tried again.
        failures: The first few rows on which the program failed, as "row 7: what happened".
        usage: What all of it took.
    """

    model_config = ConfigDict(frozen=True)

    accepted: tuple[RowTrace, ...] = ()
    rejected: tuple[RowTrace, ...] = ()
    tried: int = 0
    runs: int = 0
    failures: tuple[str, ...] = ()
    usage: Usage = Usage()


class Runtime(Protocol):
    """The seam: all that modules and optimizers may ask of the outside world.

    Implementations promise: a call's result depends only on its arguments (and the models' answers); `evaluate` and
    `trace` keep the order of rows; an error of infrastructure raises and is never turned into a score.
    """

    async def generate(self, request: LMRequest) -> LMResponse:
        """Ask a model.

        Raises:
            LMError: If the call failed after the retries that make sense.
        """
        ...

    def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """Ask a model: pieces of the answer's text as they arrive, and then the whole response.

        Closing the generator before its end closes the connection. Raises as `generate` does, when iterated.
        """
        ...

    async def retrieve(self, request: RetrieveRequest) -> list[Passage]:
        """Search for passages, the best one first.

        Raises:
            ConfigurationError: If the request names no retriever, and the runtime has none.
            RetrievalError: If the search failed.
        """
        ...

    async def call_tool(self, call: ToolCall) -> ToolResult:
        """Call a tool. Whatever goes wrong in the tool is in the result; it may be called more than once for one call.

        Raises:
            TrustError: If the tool's code may not be imported where it is to be called.
            ProgramError: If there is no such code.
        """
        ...

    async def run_code(self, cell: CodeCell) -> CodeResult:
        """Run Python that a model wrote where it can do no harm. Whatever goes wrong in it is in the result.

        It may be run more than once for one cell; its tools' idempotency keys are the same then.

        Raises:
            ConfigurationError: If there is no sandbox where it is to be run.
            TrustError: If a tool's code may not be imported where it is to be called.
            ProgramError: If there is no such code.
        """
        ...

    async def run_part(self, part: Program, inputs: dict[str, Any], *, tries: int) -> Prediction:
        """Run a part of a program by itself, and again, as a fresh sample, where another try may end otherwise.

        Args:
            part: The part, a `dspex_core.modules.Module`.
            inputs: Its inputs by name.
            tries: How often it may be begun in all.

        Raises:
            DSPExError: What the last try raised.
        """
        ...

    async def rows(self, dataset: Dataset, indices: Sequence[int]) -> list[Example]:
        """Rows of a data set, in the order of `indices`."""
        ...

    async def evaluate(
        self,
        program: Program,
        dataset: Dataset,
        *,
        metric: MetricLike,
        rows: Sequence[int] | None = None,
        lm: LMConfig | None = None,
    ) -> Evaluation:
        """Run a program on rows and score it. Several evaluations may be asked for side by side.

        Args:
            program: What to run.
            dataset: Where the rows are.
            metric: What scores them.
            rows: Indices of the rows, each at most once; None takes all.
            lm: The model in force for the program; None for the runtime's own.

        Raises:
            LMError: If a model could not be reached; rows already answered are in the cache.
            MetricError: If the metric raised or returned no score.
        """
        ...

    async def trace(self, program: Program, dataset: Dataset, request: TraceRequest) -> TraceResult:
        """Run a program on rows, in order, and keep what each predictor saw and said where the metric is satisfied.

        As many rows are tried at once as successes are still wanted, so no row is tried in vain.

        A row is left out of the program's demos while that row itself is run. Raises as `evaluate` does.
        """
        ...

    async def suggest(
        self, space: Mapping[str, int], history: Sequence[Trial], *, count: int, seed: int
    ) -> list[dict[str, int]]:
        """Which combinations to try next, by a tree-structured Parzen estimator.

        Args:
            space: How many choices each dimension has.
            history: What was tried so far, in order.
            count: How many combinations to suggest, meant to be tried side by side. 0 gets what suggests ready.
            seed: With the history it decides the suggestions.

        Returns:
            For each combination, the number of the choice in every dimension.
        """
        ...

    async def start_fine_tuning(self, program: Program, request: FineTuningRequest) -> FineTuningJob:
        """Have a model trained to answer as the request's steps do, when asked as the program's predictors ask.

        One job is submitted for equal work, however often and from wherever this is asked for: a job that is under way,
        or has succeeded, is found again. One that failed or was cancelled is not, but for a second try of this very
        call.

        Args:
            program: Its predictors write the prompts: instructions, demos and adapters count.
            request: What to train on.

        Raises:
            ConfigurationError: If the model's provider trains none, or does not take an option.
            DatasetError: If there are fewer examples than it takes.
            FineTuningError: If a trainer raised, or gave no model.
            LMError: If the provider could not be reached, or refused.
        """
        ...

    async def follow_fine_tuning(self, job: FineTuningJob) -> FineTuningJob:
        """Where a job stands now. Raises LMError if its provider could not be reached."""
        ...

    async def cancel_fine_tuning(self, job: FineTuningJob) -> None:
        """End a job early; one that has ended stays as it is. Raises as `follow_fine_tuning` does."""
        ...

    def emit(self, event: Event) -> None:
        """Tell whoever watches."""
        ...

    def hears(self, kind: str) -> bool:
        """Whether anybody would be told of events of this type: where nobody is, they need not be made."""
        ...


def percent(scores: Sequence[float]) -> float:
    """Mean of scores in percent, rounded to two digits; the same whatever order they were added up in.

    Raises:
        EvaluationError: If there are none.
    """
    if not scores:
        raise EvaluationError("nothing to score: the data set has no rows")
    # The integer sum of scaled scores makes the mean independent of how rows were split into chunks.
    return round(sum(round(score * 1_000_000_000) for score in scores) / len(scores) / 10_000_000, 2)
