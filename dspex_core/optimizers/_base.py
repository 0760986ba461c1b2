from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from dspex_core.errors import ConfigurationError, DatasetError, EvaluationError, UnknownNameError
from dspex_core.events import CandidateEvaluated, OptimizerFinished, OptimizerStarted, PhaseStarted, UsageAdded
from dspex_core.record import require_inputs
from dspex_core.seam import (
    ConfiguredLM,
    Dataset,
    Evaluation,
    LMConfig,
    MetricLike,
    Program,
    ProgramState,
    Runtime,
    TraceRequest,
    TraceResult,
    configuration_of,
    current_adapter,
    current_runtime,
)
from dspex_core.usage import Usage

P = TypeVar("P", bound=Program)


class Candidate(BaseModel):
    """A state that was scored.

    Attributes:
        index: Its place in the order of the search; 0 is the program as it was given.
        label: How it came to be.
        state: Instructions and demos.
        score: Percent on the validation set.
        failed: Rows on which the program failed.
    """

    model_config = ConfigDict(frozen=True)

    index: int
    label: str
    state: ProgramState
    score: float
    failed: int = 0


@dataclass(frozen=True)
class CompileResult(Generic[P]):
    """What a compile found.

    Attributes:
        program: The program in its best state.
        score: Its score on the validation set in percent; None if there was none.
        baseline_score: Score of the program as it was given.
        candidates: Every state that was scored, in order.
        usage: What all of it took.
    """

    program: P
    score: float | None
    baseline_score: float | None
    candidates: tuple[Candidate, ...]
    usage: Usage

    @property
    def cost(self) -> float | None:
        """What it cost in US dollars; None if the price of a model is not known."""
        return self.usage.cost_usd


class Search(Generic[P]):
    """One compile under way: what an optimizer may ask for, with the books kept.

    Args:
        runtime: Where it runs.
        student: The program to improve.
        trainset: Rows to learn from.
        valset: Rows to score candidates on, or None.
        metric: What scores them.
        teacher: The program whose runs become demos; None for the student itself.
        teacher_lm: The model that the teacher runs on; None for the one in force.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        student: P,
        trainset: Dataset,
        valset: Dataset | None,
        metric: MetricLike | None,
        teacher: P | None,
        teacher_lm: LMConfig | None,
    ) -> None:
        self.runtime = runtime
        self.student = student
        self.trainset = trainset
        self.valset = valset
        self.metric = metric
        self.teacher = teacher
        self.teacher_lm = teacher_lm
        self.candidates: list[Candidate] = []
        self.usage = Usage()
        self._failure = ""

    async def evaluate(self, state: ProgramState, label: str) -> Evaluation | None:
        """Score a state on the validation set and enter it as a candidate; without a validation set, do nothing."""
        if self.valset is None or self.metric is None:
            return None
        self.runtime.emit(PhaseStarted(phase=f"evaluating {label}", rows=len(self.valset)))
        evaluation = await self.runtime.evaluate(self.student.with_state(state), self.valset, metric=self.metric)
        self._add(evaluation.usage)
        candidate = Candidate(
            index=len(self.candidates), label=label, state=state, score=evaluation.score, failed=evaluation.failed
        )
        self.candidates.append(candidate)
        if evaluation.failed == len(self.valset):
            self._failure = evaluation.failures[0]
        self.runtime.emit(
            CandidateEvaluated(index=candidate.index, label=label, score=candidate.score, failed=candidate.failed)
        )
        return evaluation

    async def trace(self, program: P, request: TraceRequest) -> TraceResult:
        """Run rows of the training set and keep what each predictor saw and said."""
        result = await self.runtime.trace(program, self.trainset, request)
        self._add(result.usage)
        return result

    async def labeled_demos(self, rows: Sequence[int]) -> tuple[dict[str, Any], ...]:
        """Training rows as demos, in JSON's terms, as a candidate is kept and as a stored data set gives them."""
        examples = await self.runtime.rows(self.trainset, rows)
        return tuple(to_jsonable_python(example.to_dict(), fallback=str) for example in examples)

    def phase(self, name: str, *, detail: str = "") -> None:
        """Tell what comes next."""
        self.runtime.emit(PhaseStarted(phase=name, detail=detail))

    def result(self, found: ProgramState) -> CompileResult[P]:
        """The best state's program; of equal scores the later one wins, and without scores the one found.

        Raises:
            EvaluationError: If every row of every candidate failed: there is no winner then.
        """
        if not self.candidates:
            return self._result(found, None)
        valset = self.valset
        if valset is not None and all(candidate.failed == len(valset) for candidate in self.candidates):
            raise EvaluationError(f"the program failed on every row, before and after; {self._failure}")
        best = max(self.candidates, key=lambda candidate: (candidate.score, candidate.index))
        return self._result(best.state, best.score)

    def _result(self, state: ProgramState, score: float | None) -> CompileResult[P]:
        return CompileResult(
            program=self.student.with_state(state),
            score=score,
            baseline_score=self.candidates[0].score if self.candidates else None,
            candidates=tuple(self.candidates),
            usage=self.usage,
        )

    def _add(self, usage: Usage) -> None:
        self.usage += usage
        self.runtime.emit(UsageAdded(usage=usage))


class Optimizer(BaseModel):
    """Finds the state of a program that scores best. Its fields are its options.

    A subclass defines `search`, deterministic given its inputs and `seed`: randomness comes from its own
    `random.Random`, everything else from the `Search` it is given.

    Attributes:
        metric: What scores a prediction: a function, a built-in metric's name, or "package.module:function".
        seed: Decides every random choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: ClassVar[str]
    """What the command line and the registry call it."""

    metric: MetricLike | None = None
    seed: int = Field(default=0)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Self:
        """The optimizer with these options.

        Raises:
            UnknownNameError: If there is no such option.
            ConfigurationError: If a value does not fit.
        """
        for option in options:
            if option not in cls.model_fields:
                raise UnknownNameError(f"{cls.__name__} option", option, cls.model_fields)
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigurationError(f"{cls.__name__} option {where!r}: {first['msg']}") from None

    async def compile(
        self,
        student: P,
        *,
        trainset: Dataset,
        valset: Dataset | None = None,
        teacher: P | None = None,
        teacher_lm: LMConfig | ConfiguredLM | None = None,
    ) -> CompileResult[P]:
        """Search for the student's best state, on the runtime in force.

        Args:
            student: The program to improve; it stays as it is.
            trainset: Rows to learn from.
            valset: Rows that candidates, the student as given first, are scored on. Without them the state found is
                returned unscored.
            teacher: A program of the same structure whose runs become demos; by default the student.
            teacher_lm: The model that the teacher runs on, an LM or its configuration; by default the one in force.

        Returns:
            The best program with all candidates' scores.

        Raises:
            DatasetError: If there is nothing to learn from or to score on.
            ConfigurationError: If there is a valset but no metric, or the teacher is of another structure.
            EvaluationError: If the program failed on every row.
            LMError: If a model could not be reached; all answers so far are in the cache, and a second try uses them.
        """
        self.check(student, trainset, valset, teacher)
        if current_adapter() is not None:
            # What is found is found with this adapter, so the result says so, as that of a durable run does.
            student = student.with_state(student.get_state().with_adapter(current_adapter()))
        search = Search(
            current_runtime(),
            student=student,
            trainset=trainset,
            valset=valset,
            metric=self.metric,
            teacher=teacher,
            teacher_lm=None if teacher_lm is None else configuration_of(teacher_lm),
        )
        search.runtime.emit(OptimizerStarted(optimizer=type(self).__name__))
        await search.evaluate(student.get_state(), "baseline")
        result = search.result(await self.search(search))
        search.runtime.emit(OptimizerFinished(score=result.score))
        return result

    async def search(self, search: Search[P]) -> ProgramState:
        """The optimizer's algorithm: returns the state it found, having scored what it wants scored."""
        raise ConfigurationError(f"{type(self).__name__} defines no search(…)")

    def check(
        self, student: Program, trainset: Dataset, valset: Dataset | None, teacher: Program | None = None
    ) -> None:
        """Refuse what no search could use, before anything is paid for. Raises as `compile` does."""
        if not len(trainset):
            raise DatasetError("the training set has no rows")
        if valset is not None and not len(valset):
            raise DatasetError("the validation set has no rows")
        for what, dataset in (("training set", trainset), ("validation set", valset)):
            if isinstance(dataset, Sequence):
                require_inputs(dataset, what=what)
        if valset is not None and self.metric is None:
            raise ConfigurationError(f"{type(self).__name__} needs a metric to score the validation set with")
        predictors = student.get_state().predictors
        if not predictors:
            raise ConfigurationError("the program has no predictor: there is nothing to optimize")
        if teacher is not None and teacher.get_state().predictors.keys() != predictors.keys():
            raise ConfigurationError("teacher and student must have the same predictors")
