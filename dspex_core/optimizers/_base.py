from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticSerializationError

from dspex_core.budget import Limits
from dspex_core.errors import (
    BudgetReachedError,
    ConfigurationError,
    DatasetError,
    DSPExError,
    ProgramError,
    UnknownNameError,
)
from dspex_core.events import OptimizerFinished, OptimizerStarted
from dspex_core.invalid import first_problem
from dspex_core.modules import as_program, as_rows
from dspex_core.optimizers._folds import CrossValidation
from dspex_core.optimizers._given import require_program, require_rows
from dspex_core.optimizers._plan import Plan, planned
from dspex_core.optimizers._racing import Racing
from dspex_core.optimizers._result import CompileResult, P
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._side_by_side import both
from dspex_core.record import require_inputs
from dspex_core.seam import (
    ConfiguredLM,
    Dataset,
    LMConfig,
    MetricLike,
    Program,
    ProgramState,
    Runtime,
    compiling,
    configuration_of,
    current_adapter,
    current_early_end,
    current_runtime,
    metered,
)
from dspex_core.synchronous import run_synchronously


def _configuration(given: LMConfig | ConfiguredLM | str | dict[str, Any] | None) -> LMConfig | dict[str, Any] | None:
    if given is None or isinstance(given, dict):
        return given
    return LMConfig(model=given) if isinstance(given, str) else configuration_of(given)


LMOption = Annotated[LMConfig | None, BeforeValidator(_configuration)]
"""An option that names a model: an LM, its configuration, or a name such as "openai/gpt-4o"."""


class Optimizer(BaseModel):
    """Finds the state of a program that scores best. Its fields are its options.

        class FirstRow(Optimizer):
            name = "first_row"

            async def search(self, search):
                demos = await search.labeled_demos([0])
                state = search.student.get_state()
                state = state.with_demos(dict.fromkeys(state.predictors, demos))
                await search.evaluate(state, "the first row as a demo")
                return state

        best = await FirstRow(metric="exact_match").compile(program, trainset=trainset, valset=valset)

    A subclass defines `search`, deterministic given its inputs and `seed`: randomness comes from its own
    `random.Random`, everything else from the `Search` it is given.

    Attributes:
        metric: What scores a prediction: a function, a built-in metric's name, or "package.module:function".
        seed: Decides every random choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: ClassVar[str]
    """What the command line and the registry call it, and ids of its runs begin with; by default its class's name."""
    beside_baseline: ClassVar[bool] = False
    """Whether `search` starts while the program as given is being scored; `await search.baseline()` is its score."""

    metric: MetricLike | None = None
    seed: int = Field(default=0)

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if not hasattr(cls, "name"):
            cls.name = cls.__name__

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Self:
        """The optimizer with these options.

        Raises:
            UnknownNameError: If there is no such option.
            ConfigurationError: If a value does not fit.
        """
        return cls.model_validate(options)

    @model_validator(mode="wrap")
    @classmethod
    def _clearly(cls, options: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Say what is wrong with an option in one line."""
        try:
            return handler(options)
        except ValidationError as error:
            where, what = first_problem(error)
            if error.errors(include_url=False)[0]["type"] == "extra_forbidden":
                raise UnknownNameError(f"{cls.__name__} option", where, cls.model_fields) from None
            raise ConfigurationError(f"{cls.__name__} option {where!r}: {what}") from None

    def imported_paths(self) -> tuple[str, ...]:
        """Import paths of the code, besides the metric, that its options name."""
        return ()

    def written_options(self) -> dict[str, Any]:
        """The options but for the metric, as JSON values that `from_options` reads, in this process or another.

        Raises:
            ProgramError: If an option is code that no other process could import.
        """
        try:
            return self.model_dump(mode="json", exclude={"metric"})
        except PydanticSerializationError as error:
            if isinstance(error.__cause__, DSPExError):
                raise error.__cause__ from None
            raise ProgramError(
                f"an option of {type(self).__name__} cannot be written down for workers: {error}"
            ) from None

    async def compile(
        self,
        student: P,
        *,
        trainset: Dataset,
        valset: Dataset | None = None,
        teacher: P | None = None,
        teacher_lm: LMConfig | ConfiguredLM | None = None,
        folds: int | None = None,
    ) -> CompileResult[P]:
        """Search for the student's best state, on the runtime in force.

        Args:
            student: The program to improve, which may be a `dspy.Module`; it stays as it is.
            trainset: Rows to learn from.
            valset: Rows that candidates, the student as given first, are scored on. Without them the state found is
                returned unscored.
            teacher: A program of the same structure whose runs become demos; by default the student.
            teacher_lm: The model that the teacher runs on, an LM or its configuration; by default the one in force.
            folds: For few rows, in place of a valset: compiles so many times without a part of the training rows, which
                then scores, and once with all of them.

        Returns:
            The best program with all candidates' scores.

        Raises:
            DatasetError: If there is nothing to learn from or to score on.
            ConfigurationError: If there is a valset but no metric, or the teacher is of another structure.
            EvaluationError: If the program failed on every row.
            LMError: If a model could not be reached; all answers so far are in the cache, and a second try uses them.
        """
        search = self._begun(
            current_runtime,
            student,
            datasets=(trainset, valset),
            teacher=teacher,
            teacher_lm=None if teacher_lm is None else configuration_of(teacher_lm),
            folds=folds,
        )
        search.runtime.emit(OptimizerStarted(optimizer=type(self).__name__))
        end, found = current_early_end(), list[CompileResult[P]]()
        with metered() as meter:
            try:
                with end.of_this_task(), compiling():
                    found.append(await self._found(search, folds))
            except BudgetReachedError as error:
                end.reason = str(error)
            finally:
                await search.close()
        if not found:  # what was paid for work that was not finished counts, too
            search.add((meter.usage if end.paid is None else end.paid()) - search.usage)
        result = replace(found[0] if found else search.result(search.student.get_state()), ended_early=end.reason)
        search.runtime.emit(OptimizerFinished(score=result.score))
        return result

    async def plan(
        self,
        student: P,
        *,
        trainset: Dataset,
        valset: Dataset | None = None,
        teacher: P | None = None,
        teacher_lm: LMConfig | ConfiguredLM | None = None,
        lm: LMConfig | ConfiguredLM | None = None,
        folds: int | None = None,
        budget: Limits | None = None,
    ) -> Plan:
        """Say what a compile of the same arguments will take, without calling anything.

        The optimizer is run on a runtime that counts: prompts are written and measured, and rows come out right or
        wrong by a rule. Neither the program's own code nor the metric is run.

        Args:
            student: The program to improve.
            trainset: Rows to learn from.
            valset: Rows that candidates are scored on.
            teacher: A program of the same structure whose runs become demos.
            teacher_lm: The model that the teacher runs on, an LM or its configuration.
            lm: The model in force, an LM or its configuration; list prices are known to an LM alone.
            folds: Folds that the training rows are split into, in place of a valset.
            budget: What the compile may take; `warnings` say so if that buys no search.

        Raises:
            DatasetError: If there is nothing to learn from or to score on, or the rows are not at hand.
            ConfigurationError: If an option does not fit, as in `compile`.
        """
        teacher_config = teacher_lm if teacher_lm is None or isinstance(teacher_lm, LMConfig) else teacher_lm.config

        def begin(runtime: Runtime) -> Search[P]:
            return self._begun(
                lambda: runtime,
                student,
                datasets=(trainset, valset),
                teacher=teacher,
                teacher_lm=teacher_config,
                folds=folds,
            )

        plan = await planned(type(self).__name__, begin, lambda search: self._found(search, folds), lm=lm)
        shortfall = None if budget is None else plan.shortfall(budget)
        return plan if shortfall is None else plan.model_copy(update={"warnings": (*plan.warnings, shortfall)})

    async def shortfall(self, student: Program, *, budget: Limits, **given: Any) -> str | None:
        """Why a compile of these arguments, which are those of `plan`, buys no search with a budget.

        Returns:
            A sentence; None if it does buy one, or if the run cannot be planned.
        """
        try:
            return (await self.plan(student, **given)).shortfall(budget)
        except DSPExError:
            return None

    async def _found(self, search: Search[P], folds: int | None) -> CompileResult[P]:
        """What the search comes to, the scoring of the program as it was given included."""
        if folds is not None:
            await search.evaluate(search.student.get_state(), "baseline")
            return await CrossValidation[P](self, folds).run(search)
        return search.result(await self.run_search(search))

    def check_folds(self, student: Program, trainset: Dataset, *, folds: int, teacher: Program | None = None) -> None:
        """Refuse what cannot be cross-validated, before anything is paid for. Raises as `compile` does."""
        CrossValidation[Any](self, folds).check(student, trainset, None, teacher)

    def _begun(
        self,
        runtime: Callable[[], Runtime],
        student: P,
        *,
        datasets: tuple[Dataset, Dataset | None],
        teacher: P | None,
        teacher_lm: LMConfig | None,
        folds: int | None,
    ) -> Search[P]:
        """The search that a compile begins with, once all that was given is known to be of use."""
        student, teacher = as_program(student), as_program(teacher)
        require_program(student)
        if teacher is not None:
            require_program(teacher, what="teacher")
        datasets = as_rows(datasets[0]), as_rows(datasets[1])
        require_rows(datasets[0], what="training set")
        if datasets[1] is not None:
            require_rows(datasets[1], what="validation set")
        if folds is None:
            trainset, valset = self.divided(*datasets)
            self.check(student, trainset, valset, teacher)
        else:
            CrossValidation[P](self, folds).check(student, *datasets, teacher)
            trainset = valset = datasets[0]
        if current_adapter() is not None:
            # What is found is found with this adapter, so the result says so, as that of a durable run does.
            student = student.with_state(student.get_state().with_adapter(current_adapter()))
        search = Search(
            runtime(),
            student=student,
            trainset=trainset,
            valset=valset,
            metric=self.metric,
            teacher=teacher,
            teacher_lm=teacher_lm,
        )
        self.prepare(search)
        if folds is not None:
            search.val_rows = tuple(range(len(trainset)))
        return search

    def run(self, student: P, **given: Any) -> CompileResult[P]:
        """The same as `await optimizer.compile(student, …)`, from synchronous code; works inside a notebook too."""
        return run_synchronously(self.compile(student, **given))

    async def run_search(self, search: Search[P], *, label: str = "baseline") -> ProgramState:
        """What `search` finds, once the program as given is scored under this label, or beside that."""
        if not self.beside_baseline:
            await search.evaluate(search.student.get_state(), label)
            return self._checked(await self.search(search))
        _, found = await both(search.begin(label), self.search(search))
        return self._checked(found)

    def _checked(self, found: Any) -> ProgramState:
        """What a search of anybody's own returned, if it is a state."""
        if isinstance(found, ProgramState):
            return found
        raise ConfigurationError(
            f"{type(self).__name__}.search returned {found!r:.80}: it is to return the ProgramState that it found"
        )

    async def search(self, search: Search[P]) -> ProgramState:
        """The optimizer's algorithm: returns the state it found, having scored what it wants scored."""
        raise ConfigurationError(f"{type(self).__name__} defines no search(…)")

    def divided(self, trainset: Dataset, valset: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """The rows to learn from and those to score on; an optimizer that must score may find its own."""
        return trainset, valset

    def prepare(self, search: Search[Any]) -> None:
        """Settle what candidates are scored on, before the first one is: `val_rows` and `task_lm` of the search."""

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


class RacingOptimizer(Optimizer):
    """An optimizer whose candidates may race: `evaluate_all(…, racing=self.race)` stops those that can hardly win.

        class Draws(RacingOptimizer):
            name = "draws"

            async def search(self, search):
                given, rows = search.student.get_state(), range(len(search.trainset))
                proposals = []
                for row in rows:
                    demos = await search.labeled_demos([row])
                    state = given.with_demos(dict.fromkeys(given.predictors, demos))
                    proposals.append(Proposal(state, f"row {row} as a demo"))
                await search.evaluate_all(proposals, phase="trying demos", racing=self.race)
                return proposals[0].state

    Attributes:
        racing: Whether a candidate's evaluation stops once it can hardly win; False scores each on all rows.
        racing_confidence: How sure it is, for each candidate, that one that would win is not stopped; with 1.0 only
            those are stopped that cannot win any more.
    """

    racing: bool = True
    racing_confidence: float = Field(default=0.9, ge=0.5, le=1.0)

    @property
    def race(self) -> Racing | None:
        """The rules of its races; None if there are none."""
        return Racing(confidence=self.racing_confidence, seed=self.seed) if self.racing else None
