import hashlib
import math
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal, NoReturn, cast

from dspex_core.errors import DatasetError, ProgramError
from dspex_core.events import Event
from dspex_core.modules import Module
from dspex_core.optimizers._prompt_sizes import ASSUMED_TEXT, CallSize, PromptSizes, made_up, value_of
from dspex_core.record import Example, Prediction
from dspex_core.seam import (
    CodeCell,
    CodeResult,
    Dataset,
    Evaluation,
    FineTuningJob,
    FineTuningRequest,
    LMConfig,
    LMRequest,
    LMResponse,
    MetricLike,
    Passage,
    Program,
    RetrieveRequest,
    RowTrace,
    Runtime,
    ToolCall,
    ToolResult,
    TraceRequest,
    TraceResult,
    Trial,
)

_CERTAIN = 2**32
_IN_FORCE = "openai/model-in-force"
"""What a model is called whose name a rehearsal does not know."""
_DRAWS = 20
"""Combinations drawn to find one that was not tried yet."""


@dataclass(frozen=True)
class Scenario:
    """How things go in a rehearsal.

    Attributes:
        solved: Share of the rows that come out right, 0 to 1.
        apart: How far states lie apart in that, to either side, 0 to 1.
        loops: How often a part is called that may be called more than once.
        repeats: Share of the suggested combinations that were tried before.
        alike: Share of the rows that come out the same in all fresh samples.
        level: Whether all states score the same, so that no race stops any.
    """

    solved: float
    loops: Literal["fewest", "some", "most"]
    repeats: float
    apart: float = 0.0
    alike: float = 0.0
    level: bool = False

    def calls(self, call: CallSize) -> int:
        """How many of a predictor's calls a run makes."""
        if self.loops == "fewest":
            return call.fewest
        return call.most if self.loops == "most" else round(math.sqrt(max(1, call.fewest) * call.most))


@dataclass
class Spent:
    """Calls of one model, and their tokens."""

    calls: int = 0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0


class Rehearsal:
    """A runtime that calls nothing: rows come out as a scenario says, and what would be called is counted.

    An optimizer that is run on it takes the steps that it would take with models, so that what it asks for is counted
    where it is decided. Neither the program's code nor the metric is run.

    Args:
        scenario: How things go.
        sizes: Measures prompts; may be shared by rehearsals of one program.
        draw: Which rows come out right; another number, others.

    Attributes:
        spent: What was counted, by model; None is the model in force.
        metric_calls: Rows that a program would be run and scored on.
        evaluations: Evaluations asked for.
        proposals: For each state tried that is not the first, what was counted once it was tried.
    """

    def __init__(self, scenario: Scenario, sizes: PromptSizes, *, draw: int = 0) -> None:
        self._scenario = scenario
        self._draw = draw
        self._sizes = sizes
        self._asked = 0
        self._tried: set[str] = set()
        self.spent: dict[LMConfig | None, Spent] = {}
        self.metric_calls = 0
        self.evaluations = 0
        self.proposals: list[dict[LMConfig | None, Spent]] = []

    @property
    def calls(self) -> int:
        """Calls counted so far, whatever the model."""
        return sum(spent.calls for spent in self.spent.values())

    async def evaluate(
        self,
        program: Program,
        dataset: Dataset,
        *,
        metric: MetricLike,
        rows: Sequence[int] | None = None,
        lm: LMConfig | None = None,
    ) -> Evaluation:
        """Count an evaluation; scores are those of the scenario."""
        del metric
        examples = _at_hand(dataset)
        indices = range(len(examples)) if rows is None else rows
        self.evaluations += 1
        self._count(self._sizes.of(_module(program), examples, indices), lm, runs=len(indices))
        self.metric_calls += len(indices)
        digest = self._note(program)
        return Evaluation(scores=tuple(self._sampled(digest, index, 0) for index in indices))

    async def trace(self, program: Program, dataset: Dataset, request: TraceRequest) -> TraceResult:
        """Count runs of rows, as many as it takes in the scenario; the answers are the rows' labels."""
        module, examples = _module(program), _at_hand(dataset)
        keep_all = request.keep == "all"
        wanted = len(request.rows) if request.wanted is None or keep_all else request.wanted
        digest, runs = _digest(program), 0
        traces: list[RowTrace] = []
        for row in request.rows:
            if sum(trace.accepted for trace in traces) == wanted:
                break
            trace, tries = self._traced(module, digest, examples[row], row, request)
            traces.append(trace)
            runs += tries
        if runs:
            tried = request.rows[: len(traces)]
            self._count(self._sizes.of(module, examples, tried), request.lm, runs=runs)
            self.metric_calls += runs
        if keep_all:
            self._note(program)
        rejected = tuple(trace for trace in traces if keep_all and not trace.accepted)
        accepted = tuple(trace for trace in traces if trace.accepted)
        return TraceResult(accepted=accepted, rejected=rejected, tried=len(traces), runs=runs)

    def answer(self, module: Module, inputs: Mapping[str, Any]) -> Prediction:
        """Count a question that the search itself asks a model; every answer is another one."""
        self._asked += 1
        self._count(self._sizes.of_question(module, inputs), None, runs=1)
        outputs: dict[str, Any] = {}
        for predictor in module.named_predictors().values():
            for name in predictor.signature.output_fields:
                value = made_up(predictor.signature, name)
                outputs[name] = f"Answer {self._asked}. {value}" if isinstance(value, str) else value
        return Prediction(outputs)

    async def rows(self, dataset: Dataset, indices: Sequence[int]) -> list[Example]:
        """Rows of a list."""
        examples = _at_hand(dataset)
        return [examples[index] for index in indices]

    async def suggest(
        self, space: Mapping[str, int], history: Sequence[Trial], *, count: int, seed: int
    ) -> list[dict[str, int]]:
        """Any combinations, some of them known ones: how many calls one takes hardly depends on which it is."""
        rng = Random(f"{seed}/{len(history)}")  # noqa: S311 - repeatable by design
        found: list[dict[str, int]] = []
        for _ in range(count):
            known = [*(trial.choices for trial in history), *found]
            if known and rng.random() < self._scenario.repeats:
                found.append(dict(rng.choice(known)))
                continue
            drawn = [{name: rng.randrange(choices) for name, choices in space.items()} for _ in range(_DRAWS)]
            found.append(next((choices for choices in drawn if choices not in known), drawn[0]))
        return found

    async def start_fine_tuning(self, program: Program, request: FineTuningRequest) -> FineTuningJob:
        """A job that is done at once; training is no call, and what it costs is not known."""
        del program
        lm = request.lm or LMConfig(model=_IN_FORCE)
        tuned = lm.model_copy(update={"model": f"{lm.model}-tuned"})
        return FineTuningJob(job_id="rehearsed", lm=lm, status="succeeded", examples=len(request.steps), tuned=tuned)

    async def follow_fine_tuning(self, job: FineTuningJob) -> FineTuningJob:
        """The job: it is done."""
        return job

    async def cancel_fine_tuning(self, job: FineTuningJob) -> None:
        """Nothing: the job is done."""

    def emit(self, event: Event) -> None:
        """Tell nobody: nothing has happened."""

    def hears(self, kind: str) -> bool:
        """None of them."""
        del kind
        return False

    async def generate(self, request: LMRequest) -> LMResponse:
        """Refused, like all that would leave this process."""
        del request
        _refuse("asks a model")

    def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """Refused."""
        del request
        _refuse("asks a model")

    async def retrieve(self, request: RetrieveRequest) -> list[Passage]:
        """Refused."""
        del request
        _refuse("searches")

    async def call_tool(self, call: ToolCall) -> ToolResult:
        """Refused."""
        del call
        _refuse("calls a tool")

    async def run_code(self, cell: CodeCell) -> CodeResult:
        """Refused."""
        del cell
        _refuse("runs code")

    async def run_part(self, part: Program, inputs: dict[str, Any], *, tries: int) -> Prediction:
        """Refused."""
        del part, inputs, tries
        _refuse("runs a program")

    def _traced(
        self, module: Module, digest: str, example: Example, row: int, request: TraceRequest
    ) -> tuple[RowTrace, int]:
        """The run that is accepted, or the last one, and how many there were."""
        tries, score = 0, 0.0
        while tries < max(1, request.rounds) and not score:
            sample = request.rollout + tries
            score = 1.0 if request.metric is None else self._sampled(digest, row, sample)
            tries += 1
        demos: dict[str, list[dict[str, Any]]] = {}
        for name, predictor in module.named_predictors().items():
            fields = [*predictor.signature.input_fields, *predictor.signature.output_fields]
            demos[name] = [{field: value_of(predictor.signature, field, example) for field in fields}]
        trace = RowTrace(
            row=row,
            accepted=bool(score),
            demos=demos,
            score=None if request.metric is None else score,
            feedback="" if request.metric is None else ASSUMED_TEXT,
            outputs=example.to_dict() if request.keep == "all" else {},
        )
        return trace, tries

    def _sampled(self, digest: str, row: int, sample: int) -> float:
        """The score of a sample; most rows come out the same in all, whichever state they are run with."""
        if sample == 0:
            return self._score("" if self._scenario.level else digest, row)
        if self._drawn(f"{row} is alike") < self._scenario.alike:
            return float(self._drawn(f"{row}") < self._scenario.solved)
        return self._score(f"{digest}/{sample}", row)

    def _score(self, digest: str, row: int) -> float:
        apart = self._scenario.apart * (2 * self._drawn(digest) - 1)
        return float(self._drawn(f"{digest}/{row}") < self._scenario.solved + apart)

    def _drawn(self, what: str) -> float:
        """A number from 0 to 1 that looks random, and is always the same for the same thing."""
        return int.from_bytes(hashlib.blake2b(f"{self._draw}/{what}".encode(), digest_size=4).digest()) / _CERTAIN

    def _note(self, program: Program) -> str:
        digest = _digest(program)
        if digest not in self._tried:
            if self._tried:
                self.proposals.append({lm: replace(spent) for lm, spent in self.spent.items()})
            self._tried.add(digest)
        return digest

    def _count(self, sizes: Sequence[CallSize], lm: LMConfig | None, *, runs: int) -> None:
        for size in sizes:
            spent = self.spent.setdefault(size.lm or lm, Spent())
            calls = runs * self._scenario.calls(size)
            spent.calls += calls
            spent.prompt_tokens += calls * size.prompt_tokens
            spent.completion_tokens += calls * size.completion_tokens


_rehearsal: ContextVar[Rehearsal | None] = ContextVar("dspex_rehearsal", default=None)


def current_rehearsal() -> Rehearsal | None:
    """The rehearsal under way in the running task; None if things are in earnest."""
    return _rehearsal.get()


@contextmanager
def rehearsing(rehearsal: Rehearsal) -> Generator[Runtime]:
    """Let searches of the block be rehearsed."""
    token = _rehearsal.set(rehearsal)
    try:
        yield rehearsal
    finally:
        _rehearsal.reset(token)


def _at_hand(dataset: Dataset) -> Sequence[Example]:
    if isinstance(dataset, Sequence):
        return dataset
    raise DatasetError(f"the stored data set {dataset.digest} must be loaded before a run on it can be planned")


def _module(program: Program) -> Module:
    return cast("Module", cast("Any", program))


def _digest(program: Program) -> str:
    return hashlib.blake2b(program.get_state().model_dump_json().encode(), digest_size=16).hexdigest()


def _refuse(what: str) -> NoReturn:
    raise ProgramError(f"this optimizer {what} past its Search, so that its run cannot be planned")
