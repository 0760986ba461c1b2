import inspect
import math
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import pydantic

from dspex_core.errors import (
    DSPExError,
    InputError,
    LMError,
    LMRequestError,
    MetricError,
    ProgramError,
    RetrievalError,
    may_pass,
)
from dspex_core.invalid import first_problem
from dspex_core.modules._module import Module, checked_module
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.references import CodeReference, import_code, reference_to
from dspex_core.seam import TraceStep, record_step, recorded_trace, rolled_out
from dspex_core.synchronous import in_thread

Reward = Callable[[dict[str, Any], Prediction], float | Awaitable[float]]
"""How good a prediction is, given the inputs; higher is better. It may be async; one that is not runs in a thread."""

_WHAT = "reward function"


@dataclass(frozen=True)
class Attempt:
    """One try: what came of it, how good that is, and what every predictor saw and said, by the predictor's name."""

    prediction: Prediction
    reward: float
    steps: list[tuple[str, TraceStep]]


class BestOfN(Module):
    """Runs a module up to `N` times, each a fresh sample, and keeps the prediction with the highest reward.

        best = BestOfN(Predict("text -> summary"), 3, lambda inputs, found: -len(found.summary), threshold=-40)

    Args:
        module: What to run.
        N: Most tries; each after the first is at temperature 1.
        reward_fn: Scores a prediction; it sees the inputs too. For programs that are sent to workers it must be
            importable: a function of a module, or where it is imported from as 'package.module:function'.
        threshold: A reward that is good enough to stop at.
        fail_count: Tries that may be lost because the module fails or its answer cannot be read; one more is an
            error. None takes as many as there are tries.

    A trace holds the steps of the try that was kept, and no other's.

    Raises:
        InputError: If `N` is not positive, `module` no module, or `reward_fn` no function.
        MetricError: When called, if `reward_fn` raised or gave no number.
        DSPExError: When called, the error of the last lost try, if too many were lost or none was not.

    Source: DSPy's module of that name; Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", section 4.
    """

    DECLARED_AS: ClassVar[str] = "best_of_n"

    def __init__(
        self,
        module: Module,
        N: int,  # noqa: N803 - DSPy's name
        reward_fn: Reward | CodeReference | str,
        threshold: float,
        fail_count: int | None = None,
    ) -> None:
        if N < 1:
            raise InputError(f"{type(self).__name__}: N={N}; at least one try is needed")
        self.module = checked_module(module, where=type(self).__name__)
        self.N = N
        self.reward_fn = _checked(reward_fn)
        self.threshold = threshold
        self.fail_count = N if fail_count is None else fail_count

    async def forward(self, **inputs: Any) -> Prediction:
        """Try until one is good enough, or all are done."""
        best: Attempt | None = None
        lost: list[Exception] = []
        module = self.module
        for number in range(self.N):
            try:
                attempt = await self._attempt(module, number, inputs)
            except _LostTryError as error:
                lost.append(error.reason)
                if len(lost) > self.fail_count:
                    raise error.reason from None
                continue
            if best is None or attempt.reward > best.reward:
                best = attempt
            if attempt.reward >= self.threshold:
                break
            if number + 1 < self.N:
                module = await self.next_module(module, attempt, inputs)
        if best is None:
            raise lost[-1]
        for _, step in best.steps:
            record_step(step)
        return best.prediction

    async def next_module(self, module: Module, attempt: Attempt, inputs: dict[str, Any]) -> Module:
        """What is tried after an attempt that was not good enough."""
        return module

    def calls_of_parts(self) -> dict[str, tuple[int, int]]:
        """A try or more, up to `N`."""
        return {"module": (1, self.N)}

    def input_names(self) -> dict[str, bool] | None:
        """What the module takes."""
        return self.module.input_names()

    def output_names(self) -> set[str]:
        """What the module gives."""
        return self.module.output_names()

    def reference(self) -> ProgramReference:
        """The module, the limits and where the reward function is, written out; for a subclass, where it is.

        Raises:
            ProgramError: If no other process could import the reward function.
        """
        if "DECLARED_AS" not in vars(type(self)):
            return super().reference()
        path = self.reward_fn.path if isinstance(self.reward_fn, CodeReference) else self.reward_fn
        options = _Options(
            N=self.N,
            reward_fn=reference_to(path, what=_WHAT),
            threshold=self.threshold,
            fail_count=self.fail_count,
        )
        return DeclaredProgram(
            module=self.DECLARED_AS, options=options.model_dump(mode="json"), parts=(self.module.reference(),)
        )

    @classmethod
    def from_declaration(cls, declared: DeclaredProgram, build: Callable[[ProgramReference], Module]) -> Self:
        """The module that `reference` wrote out. Its reward function is not yet imported.

        Raises:
            ProgramError: If the declaration lacks something.
        """
        try:
            options = _Options.model_validate(declared.options)
        except pydantic.ValidationError as error:
            where, what = first_problem(error)
            raise ProgramError(f"a {declared.module} cannot be made: option {where!r}: {what}") from None
        if len(declared.parts) != 1:
            raise ProgramError(f"a {declared.module} is declared with {len(declared.parts)} parts; it runs one module")
        return cls(build(declared.parts[0]), options.N, options.reward_fn, options.threshold, options.fail_count)

    def import_reward(self, trust: Collection[str] | None) -> None:
        """Make the reward function ready to be called in this process.

        Raises:
            TrustError: If it comes from a package that is not trusted, or its source has changed.
            ProgramError: If there is no such function.
        """
        if isinstance(self.reward_fn, CodeReference):
            self.reward_fn = _checked(import_code(self.reward_fn, trust=trust, what=_WHAT))

    async def _attempt(self, module: Module, number: int, inputs: dict[str, Any]) -> Attempt:
        own = self.module.named_predictors()
        names = {id(predictor): name for name, predictor in module.named_predictors().items()}
        with recorded_trace() as trace:
            try:
                with rolled_out(number):
                    prediction = await module(**inputs)
            except Exception as error:
                if _ends_everything(error):
                    raise
                raise _LostTryError(error) from None
            reward = await self._reward(inputs, prediction)
        # Whoever reads the trace knows the predictors of this program, not those of a copy of it.
        steps = [(names.get(id(step[0]), ""), step) for step in trace]
        return Attempt(prediction, reward, [(name, (own.get(name, step[0]), *step[1:])) for name, step in steps])

    async def _reward(self, inputs: dict[str, Any], prediction: Prediction) -> float:
        function = self.reward_fn
        if isinstance(function, CodeReference):
            raise ProgramError(f"the {_WHAT} {function.path} was not imported: build the program where it is to run")
        try:
            if inspect.iscoroutinefunction(function):
                verdict = await function(dict(inputs), prediction)
            else:
                verdict = await in_thread(lambda: function(dict(inputs), prediction))
                verdict = await verdict if inspect.isawaitable(verdict) else verdict
        except DSPExError:
            raise
        except Exception as error:
            said = f"{_named(function)} failed: {type(error).__name__}: {error}"
            raise MetricError(said, retryable=may_pass(error, code=function)) from error
        return _number(verdict, function)


class _LostTryError(Exception):
    """A try came to nothing; the others may still do."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Options(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    N: int = pydantic.Field(ge=1)
    reward_fn: CodeReference
    threshold: float
    fail_count: int | None = None


def _ends_everything(error: Exception) -> bool:
    """Whether another try would end like this one: a call that is wrong in itself, or nobody there to answer it."""
    return isinstance(error, (InputError, LMError, RetrievalError)) and not isinstance(error, LMRequestError)


def _number(verdict: Any, function: Any) -> float:
    try:
        number = float(verdict)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(verdict, str) or math.isnan(number):
        raise MetricError(f"{_named(function)} returned {verdict!r}; it must return a number or a bool")
    return number


def _named(function: Any) -> str:
    return f"{_WHAT} {getattr(function, '__name__', type(function).__name__)}"


def _checked(reward_fn: Any) -> Reward | CodeReference:
    if isinstance(reward_fn, CodeReference):
        return reward_fn
    if isinstance(reward_fn, str):
        reward_fn = import_code(CodeReference(path=reward_fn), trust=None, what=_WHAT)
    if not callable(reward_fn):
        raise InputError(f"the {_WHAT} is a {type(reward_fn).__name__}: give a function of inputs and prediction")
    return cast("Reward", reward_fn)
