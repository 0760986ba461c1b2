import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import Field, field_serializer, field_validator, model_validator

from dspex_core.errors import ConfigurationError, ProgramError, UnknownNameError
from dspex_core.events import CandidateEvaluated, CandidateProposed, OptimizationStep
from dspex_core.optimizers._base import Optimizer
from dspex_core.optimizers._bootstrap_finetune import BootstrapFinetune
from dspex_core.optimizers._random_search import BootstrapFewShotWithRandomSearch
from dspex_core.optimizers._result import Candidate, P
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._step_runtime import CandidateEvent, StepRuntime
from dspex_core.seam import Dataset, Program, ProgramState

ARROW = "->"
_Numbered = TypeVar("_Numbered", bound=Candidate | CandidateEvaluated | CandidateProposed)


def _defaults() -> dict[str, Optimizer]:
    return {"p": BootstrapFewShotWithRandomSearch(), "w": BootstrapFinetune()}


class BetterTogether(Optimizer):
    """Optimizes prompts and weights in turns, each step going on from the program that the one before found.

        optimizer = BetterTogether(metric="exact_match", p=MIPROv2(auto="light"), w=BootstrapFinetune())

    Optimizers are given by the names that the strategy has for them. Every candidate of every step is in the result,
    and after each step what it found is scored once more under the strategy so far.

    Attributes:
        optimizers: Optimizers by name, as options of their own (`p=…, w=…`): one made already, the name of one, or
            `{"optimizer": name, "options": {…}}`. Where not given, `p` is BootstrapFewShotWithRandomSearch and
            `w` BootstrapFinetune. All of them score with this one's metric.
        strategy: Names of optimizers, in the order to run them.
        valset_ratio: Share of the training rows, the first ones, that scores where no validation set is given.
        shuffle_trainset_between_steps: Whether each step sees the training rows in an order of its own.

    Source: Soylu et al. 2024, "Fine-Tuning and Prompt Optimization: Two Great Steps that Work Better Together", section
    3; semantics as in DSPy 3. A step that fails ends the compile with its error; DSPy goes on without it.
    """

    name: ClassVar[str] = "better_together"

    optimizers: dict[str, Optimizer] = Field(default_factory=_defaults)
    strategy: str = "p -> w -> p"
    valset_ratio: float = Field(default=0.1, ge=0, lt=1)
    shuffle_trainset_between_steps: bool = True

    def __init__(self, **options: Any) -> None:
        # Optimizers are named freely, which the signature made of the fields would not allow.
        super().__init__(**options)

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, options: Any) -> Any:
        """Optimizers that were given as options of their own, in one place."""
        if not isinstance(options, Mapping):
            return options
        given: dict[str, Any] = dict(options)  # pyright: ignore[reportUnknownArgumentType]
        steps = _steps(str(given.get("strategy", cls.model_fields["strategy"].default)))
        named = {
            name: value
            for name, value in given.items()
            if name not in cls.model_fields and (name in steps or isinstance(value, Optimizer))
        }
        if not named:
            return given
        rest = {name: value for name, value in given.items() if name not in named}
        return rest | {"optimizers": {**rest.get("optimizers", {}), **named}}

    @field_validator("optimizers", mode="before")
    @classmethod
    def _made(cls, optimizers: Any) -> Any:
        if not isinstance(optimizers, Mapping):
            return optimizers
        return _defaults() | {str(name): _optimizer(str(name), value) for name, value in optimizers.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

    @field_serializer("optimizers")
    def _written(self, optimizers: dict[str, Optimizer]) -> dict[str, Any]:
        from dspex_core.optimizers._registry import OPTIMIZERS  # noqa: PLC0415 - it names this optimizer, too

        for name, each in optimizers.items():
            if type(each) is not OPTIMIZERS.get(each.name):
                raise ProgramError(
                    f"step {name!r} of BetterTogether is {type(each).__name__}, an optimizer of your own: durably, its "
                    "steps are DSPEx's alone; compile with yours in a run of its own, or await both in this process"
                )
        return {name: {"optimizer": each.name, "options": each.written_options()} for name, each in optimizers.items()}

    @model_validator(mode="after")
    def _check_strategy(self) -> "BetterTogether":
        steps = _steps(self.strategy)
        if "" in steps:
            raise ConfigurationError(f"strategy {self.strategy!r}: write optimizers' names with {ARROW!r} between them")
        for step in steps:
            if step not in self.optimizers:
                raise UnknownNameError("step of the strategy", step, self.optimizers)
        for name, optimizer in self.optimizers.items():
            if optimizer.metric is not None and optimizer.metric != self.metric:
                raise ConfigurationError(
                    f"optimizer {name!r} has a metric of its own, whose scores could not be compared with the other "
                    "ones': give the metric to BetterTogether alone"
                )
        return self

    def imported_paths(self) -> tuple[str, ...]:
        """Those of all its optimizers."""
        return tuple(path for optimizer in self.optimizers.values() for path in optimizer.imported_paths())

    def divided(self, trainset: Dataset, valset: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """Without a validation set, the first rows of the training set score."""
        if valset is not None or not isinstance(trainset, Sequence):
            return trainset, valset
        held_out = int(self.valset_ratio * len(trainset))
        return (trainset[held_out:], trainset[:held_out]) if held_out else (trainset, None)

    def check(
        self, student: Program, trainset: Dataset, valset: Dataset | None, teacher: Program | None = None
    ) -> None:
        """Refuse what any of the steps would."""
        super().check(student, trainset, valset, teacher)
        for step in dict.fromkeys(_steps(self.strategy)):
            optimizer = self._step(step)
            optimizer.check(student, *optimizer.divided(trainset, valset), teacher)

    async def search(self, search: Search[P]) -> ProgramState:
        """Run the steps, each from where the one before ended."""
        rng = random.Random(self.seed)  # noqa: S311 - repeatable by design
        state, current, so_far = search.student.get_state(), 0, ""
        order = list(range(len(search.trainset)))
        for step in _steps(self.strategy):
            so_far = f"{so_far} {ARROW} {step}" if so_far else step
            if self.shuffle_trainset_between_steps:
                rng.shuffle(order)
            state = await self._run(search, self._step(step), state, current, so_far, tuple(order))
            candidate = await search.evaluate(state, so_far, parent=current)
            current = candidate.index if candidate else 0
        return state

    async def _run(  # noqa: PLR0917 - where the compile stands
        self,
        search: Search[P],
        optimizer: Optimizer,
        state: ProgramState,
        current: int,
        so_far: str,
        order: tuple[int, ...],
    ) -> ProgramState:
        """What one step finds, going on from a state; its candidates are entered after those of the steps before."""
        place = _Place(len(search.candidates), current, search.steps, so_far)
        trainset, valset = optimizer.divided(search.trainset, search.valset)

        def renamed(candidate: _Numbered) -> _Numbered | None:
            some = None if step.val_rows == search.val_rows else len(step.val_rows)
            return None if search.valset is None else place.candidate(candidate, rows=some)

        def retold(event: CandidateEvent) -> CandidateEvent | None:
            if not isinstance(event, OptimizationStep):
                return renamed(event)
            return None if search.valset is None else place.step(event)

        runtime = StepRuntime(search.runtime, trainset, order if trainset is search.trainset else None, retold)
        step = Search(
            runtime.as_runtime(),
            student=search.student.with_state(state),
            trainset=trainset,
            valset=valset,
            metric=self.metric,
            teacher=search.teacher,
            teacher_lm=search.teacher_lm,
        )
        optimizer.prepare(step)
        if valset is search.valset and step.task_lm == search.task_lm:
            step.share_scores(search)
        try:
            found = await optimizer.run_search(step, label=so_far)
        finally:
            # In any case: a compile that ends early ends with the best of these, too.
            search.absorb(step, [each for each in map(renamed, step.candidates) if each is not None])
        # Weights are kept even where they score less at first: the next step fits the prompt to them.
        return found if isinstance(optimizer, BootstrapFinetune) else step.result(found).program.get_state()

    def _step(self, name: str) -> Optimizer:
        return self.optimizers[name].model_copy(update={"metric": self.metric})


def _steps(strategy: str) -> list[str]:
    return [step.strip() for step in strategy.split(ARROW)]


def _optimizer(name: str, given: Any) -> Any:
    from dspex_core.optimizers._registry import optimizer_named  # noqa: PLC0415 - it names this optimizer, too

    if isinstance(given, str):
        return optimizer_named(given)()
    if isinstance(given, Mapping):
        described: dict[str, Any] = {**given}
        kind, options = described.pop("optimizer", None), described.pop("options", {})
        if isinstance(kind, str) and not described:
            return optimizer_named(kind).from_options(options)
    if isinstance(given, Optimizer):
        return given
    raise ConfigurationError(
        f"optimizer {name!r}: give an optimizer, the name of one, or {{'optimizer': name, 'options': {{…}}}}"
    )


@dataclass(frozen=True)
class _Place:
    """Where a step stands in the whole compile.

    Attributes:
        first: Number in the whole of the step's first new candidate.
        current: Number in the whole of what the step began with.
        steps: Steps of the search before it.
        label: What the step is, to be told before how a candidate came to be.
    """

    first: int
    current: int
    steps: int
    label: str

    def number(self, index: int) -> int:
        """The whole's number of a candidate, of which the step's own is 0 for what it began with."""
        return self.current if index == 0 else self.first + index - 1

    def candidate(self, candidate: _Numbered, *, rows: int | None) -> _Numbered | None:
        """A step's candidate as one of the whole; None for the one it began with, which is there already.

        Args:
            candidate: As the step has it.
            rows: Rows that "all" means to the step, where it does not score on all.
        """
        if candidate.index == 0:
            return None
        parent, other = candidate.parent, candidate.merged_with
        change: dict[str, Any] = {
            "index": self.number(candidate.index),
            "label": f"{self.label}: {candidate.label}",
            "parent": None if parent is None else self.number(parent),
            "merged_with": None if other is None else self.number(other),
            "rows": rows if candidate.rows is None else candidate.rows,
        }
        return candidate.model_copy(update=change)

    def step(self, event: OptimizationStep) -> OptimizationStep | None:
        """The same of a step's event; the one about what it began with is not told again."""
        if event.candidates == (0,):
            return None
        change: dict[str, Any] = {
            "step": self.steps + event.step - 1,
            "candidates": tuple(self.number(index) for index in event.candidates),
            "best": self.number(event.best),
        }
        return event.model_copy(update=change)
