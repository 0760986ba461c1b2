import copy
import inspect
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Self, cast

import pydantic
from pydantic_core import to_jsonable_python

from dspex_core.errors import AdapterParseError, ConfigurationError, LMContextLengthError, ProgramError
from dspex_core.invalid import first_problem
from dspex_core.metrics import METRICS, is_built_in, metric_reference, resolve_metric, score_of
from dspex_core.modules._bounded import bounded
from dspex_core.modules._module import Module
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Example, Prediction
from dspex_core.references import CodeReference, reference_to, require_trust
from dspex_core.seam import (
    Metric,
    Retriever,
    RetrieveRequest,
    TraceStep,
    current_runtime,
    query_of,
    record_step,
    recorded_trace,
    rolled_out,
)
from dspex_core.synchronous import in_thread

Demos = dict[str, dict[str, Any]]
"""A demo for each predictor that took part, by its name."""


class NearestDemos(pydantic.BaseModel):
    """Which demos a `KNNFewShotProgram` shows.

    Attributes:
        k: Nearest examples that are looked at.
        metric: What a run on one of them must satisfy to be shown: a function, a built-in metric's name, or where it is
            imported from; None shows every run that does not fail.
        metric_threshold: Least score of such a run; None accepts whatever the metric finds truthy.
        max_bootstrapped_demos: Examples that are run, so that demos have what examples lack, such as reasoning.
        max_labeled_demos: Most demos in all that the other examples, as they are, fill up to.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    k: int = pydantic.Field(default=3, ge=1)
    metric: Any = None
    metric_threshold: float | None = None
    max_bootstrapped_demos: int = pydantic.Field(default=4, ge=0)
    max_labeled_demos: int = pydantic.Field(default=16, ge=0)


class KNNFewShotProgram(Module):
    """Runs a program with demos chosen for each call: the training examples whose inputs are most like the call's.

        nearest = KNN(3, trainset, Embedder("openai/text-embedding-3-small"))
        program = KNNFewShotProgram(ChainOfThought("text -> team"), nearest)

    The examples nearest to the inputs are run first, each with the others as demos and without itself, and what
    satisfies the metric becomes a demo; such runs come from the cache when an example is near again. The other examples
    are demos as they are. Demos that the program has are not shown.

    Args:
        module: What to run.
        retriever: A `KNN`, or, for programs that are sent to workers, where one is imported from as
            'package.module:attribute'.
        teacher: What runs the examples, a program of the same structure; None for the module itself.
        options: Which demos, and how many.

    Raises:
        ConfigurationError: If `retriever` is none.
        RetrievalError: When called, if the search failed.
        ProgramError: When called, if the retriever finds no examples but other passages.
    """

    def __init__(
        self,
        module: Module,
        retriever: Retriever | CodeReference | str,
        *,
        teacher: Module | None = None,
        options: NearestDemos | None = None,
    ) -> None:
        self.module = module
        self.teacher = teacher
        self.options = options or NearestDemos()
        self._retriever = _checked(retriever)
        self._metric = _metric_of(self.options.metric)

    async def forward(self, **inputs: Any) -> Prediction:
        """Choose demos, and run the module with them."""
        examples = await self._nearest(inputs)
        bootstrapped = await self._bootstrapped(examples)
        rest = [_as_demo(example) for at, example in enumerate(examples) if at not in bootstrapped]
        state = self.module.get_state()
        demos: dict[str, tuple[dict[str, Any], ...]] = {}
        for name in state.predictors:
            shown = [found[name] for found in bootstrapped.values() if name in found]
            demos[name] = (*shown, *rest[: max(0, self.options.max_labeled_demos - len(shown))])
        return await self._run(self.module.with_state(state.with_demos(demos)), inputs)

    def calls_of_parts(self) -> dict[str, tuple[int, int]]:
        """The call itself, and the examples that are run for it if they are not known from another."""
        if self.teacher is None:
            return {"module": (1, 1 + self.options.max_bootstrapped_demos)}
        return {"teacher": (0, self.options.max_bootstrapped_demos)}

    def input_names(self) -> dict[str, bool] | None:
        """What the module takes."""
        return self.module.input_names()

    def output_names(self) -> set[str]:
        """What the module gives."""
        return self.module.output_names()

    def reference(self) -> ProgramReference:
        """The module, the teacher, and where retriever and metric are, written out; for a subclass, where it is.

        Raises:
            ProgramError: If the retriever was given as an object, or no other process could import it or the metric.
        """
        if type(self) is not KNNFewShotProgram:
            return super().reference()
        if not isinstance(self._retriever, CodeReference):
            raise ProgramError(
                f"this program holds a {type(self._retriever).__name__}, an object of this process: no worker and no "
                "file can have it. Keep it in a module and name it as retriever='package.module:attribute'"
            )
        metric, options = self._metric, self.options.model_dump(exclude={"metric"})
        options["retriever"] = reference_to(self._retriever.path, what="retriever").model_dump()
        if metric is not None:
            found = metric if isinstance(metric, CodeReference) else metric_reference(metric)
            options["metric"] = found.model_dump()
        parts = (
            [self.module.reference()] if self.teacher is None else [self.module.reference(), self.teacher.reference()]
        )
        return DeclaredProgram(module="knn_few_shot", options=options, parts=tuple(parts))

    @staticmethod
    def from_declaration(declared: DeclaredProgram, build: Callable[[ProgramReference], Module]) -> "KNNFewShotProgram":
        """The module that `reference` wrote out. Its metric, if it is not a built-in one, is not yet imported.

        Raises:
            ProgramError: If the declaration does not fit.
        """
        given = dict(declared.options)
        try:
            retriever = CodeReference.model_validate(given.pop("retriever", None))
            if given.get("metric") is not None:
                given["metric"] = CodeReference.model_validate(given["metric"])
            options = NearestDemos.model_validate(given)
        except pydantic.ValidationError as error:
            where, what = first_problem(error)
            raise ProgramError(f"a knn_few_shot cannot be made: option {where or 'retriever'!r}: {what}") from None
        if not 1 <= len(declared.parts) <= 2:  # noqa: PLR2004 - the module and, perhaps, its teacher
            raise ProgramError(f"a knn_few_shot is declared with {len(declared.parts)} parts; it runs one module")
        module, *teachers = (build(part) for part in declared.parts)
        return KNNFewShotProgram(module, retriever, teacher=next(iter(teachers), None), options=options)

    def import_metric(self, trust: Collection[str] | None) -> None:
        """Make the metric ready to be called in this process, and refuse a retriever that may not be imported here.

        Raises:
            TrustError: If either comes from a package that is not trusted, or the metric's source has changed.
            ProgramError: If there is no such metric.
        """
        if isinstance(self._retriever, CodeReference):
            require_trust(self._retriever, trust=trust, what="retriever")
        if isinstance(self._metric, CodeReference):
            self._metric = resolve_metric(self._metric, trust=trust)

    async def _nearest(self, inputs: dict[str, Any]) -> list[Example]:
        request = RetrieveRequest(query=query_of(inputs), k=self.options.k, retriever=self._retriever)
        examples: list[Example] = []
        for passage in await current_runtime().retrieve(request):
            row, names = passage.metadata.get("example"), passage.metadata.get("inputs")
            if not isinstance(row, dict) or not isinstance(names, list):
                raise ProgramError("KNNFewShot: the retriever finds passages that are no examples; it takes a KNN")
            examples.append(Example(cast("dict[str, Any]", row)).with_inputs(*cast("list[str]", names)))
        return examples

    async def _bootstrapped(self, examples: Sequence[Example]) -> dict[int, Demos]:
        """Demos of the first examples whose runs are good enough, by the example's place; as many as are wanted."""
        found: dict[int, Demos] = {}
        tried = 0
        while tried < len(examples) and (missing := self.options.max_bootstrapped_demos - len(found)) > 0:
            wave = range(tried, min(len(examples), tried + missing))
            runs = await bounded([partial(self._tried, examples, at) for at in wave], concurrency=len(wave))
            found |= {at: demos for at, demos in zip(wave, runs, strict=True) if demos is not None}
            tried = wave.stop
        return found

    async def _tried(self, examples: Sequence[Example], at: int) -> Demos | None:
        """The demos that a run on an example gives; None if it is not good enough."""
        teacher, example = self.teacher or self.module, examples[at]
        state = teacher.get_state()
        if not any(predictor.demos for predictor in state.predictors.values()):
            others = tuple(_as_demo(other) for place, other in enumerate(examples) if place != at)
            shown = others[: self.options.max_labeled_demos]
            teacher = teacher.with_state(state.with_demos(dict.fromkeys(state.predictors, shown)))
        names = {id(predictor): name for name, predictor in teacher.named_predictors().items()}
        with rolled_out(0), recorded_trace() as steps:
            try:
                prediction = await teacher(**example.inputs())
            except (AdapterParseError, LMContextLengthError):
                return None
            if not await self._satisfied(example, prediction, steps):
                return None
        return {
            names[id(predictor)]: to_jsonable_python({**inputs, **outputs}, fallback=str)
            for predictor, inputs, outputs in steps
            if id(predictor) in names
        }

    async def _satisfied(self, example: Example, prediction: Prediction, steps: list[TraceStep]) -> bool:
        metric = self._metric
        if metric is None:
            return True
        if isinstance(metric, CodeReference):
            raise ProgramError(f"the metric {metric.path} was not imported: build the program where it is to run")
        if is_built_in(metric) or inspect.iscoroutinefunction(metric):
            verdict = metric(example, prediction, steps)
        else:
            verdict = await in_thread(lambda: metric(example, prediction, steps))
        score = score_of(await verdict if inspect.isawaitable(verdict) else verdict, metric)
        threshold = self.options.metric_threshold
        return bool(score.value) if threshold is None else score.value >= threshold

    async def _run(self, ready: Module, inputs: dict[str, Any]) -> Prediction:
        """Run a copy of the module; whoever reads the trace knows the predictors of the module itself."""
        own = self.module.named_predictors()
        names = {id(predictor): name for name, predictor in ready.named_predictors().items()}
        steps: list[TraceStep] = []
        try:
            with recorded_trace() as steps:
                return await ready(**inputs)
        finally:
            for predictor, seen, said in steps:
                record_step((own.get(names.get(id(predictor), ""), predictor), seen, said))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Programs are copied often; an index is large, and the copy means the same one.
        clone = copy.copy(self)
        memo[id(self)] = clone
        clone.module, clone.teacher = copy.deepcopy(self.module, memo), copy.deepcopy(self.teacher, memo)
        return clone


def _as_demo(example: Example) -> dict[str, Any]:
    return to_jsonable_python(example.to_dict(), fallback=str)


def _metric_of(given: Any) -> Metric | CodeReference | None:
    """The metric; one that is to be imported from elsewhere than our own is left for `import_metric`."""
    if given is None or (isinstance(given, CodeReference) and given.path not in METRICS):
        return given
    return resolve_metric(given)


def _checked(retriever: Any) -> Retriever | CodeReference:
    if isinstance(retriever, str):
        return CodeReference(path=retriever)
    if isinstance(retriever, type) or not isinstance(retriever, (Retriever, CodeReference)):
        name = retriever.__name__ if isinstance(retriever, type) else type(retriever).__name__
        raise ConfigurationError(f"KNNFewShot: {name} is no retriever: give a KNN, or where one is imported from")
    return retriever
