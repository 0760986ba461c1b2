import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_serializer

from dspex_core.adapters import Adapter
from dspex_core.errors import ConfigurationError, DatasetError, FineTuningError
from dspex_core.optimizers._base import Optimizer
from dspex_core.optimizers._result import P
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._side_by_side import all_of
from dspex_core.references import CodeReference, reference_to
from dspex_core.seam import (
    FEWEST_EXAMPLES,
    TRAIN_KWARGS,
    AdapterConfig,
    Dataset,
    FineTuningJob,
    FineTuningRequest,
    LMConfig,
    PredictorState,
    Program,
    ProgramState,
    RowTrace,
    TraceRequest,
    TrainingStep,
)

FEWEST_ROWS_A_REQUEST = 25
"""Rows handed over at once; few enough that losing a request is cheap."""
MOST_REQUESTS = 200
"""Requests that the whole trainset is split into at most, so that a run's history stays small."""
SLOWEST = 10
"""Waits between two questions grow by a tenth each time, up to as many times the first: a job may take days."""

Group = tuple[LMConfig | None, str]
"""The model that a job trains (None for the one in force), and the predictor it trains for; "" for all of them."""


def _adapter(given: Adapter | AdapterConfig | str | dict[str, Any] | None) -> Any:
    if isinstance(given, Adapter):
        return given.config
    return {"name": given} if isinstance(given, str) else given


def _trainer(given: Any) -> Any:
    return reference_to(given, what="trainer") if isinstance(given, str) else given


class BootstrapFinetune(Optimizer):
    """Trains models on a teacher's successful runs, and binds the program to what comes out.

        optimizer = BootstrapFinetune(metric="exact_match", train_kwargs={"n_epochs": 2}, exclude_demos=True)

    The teacher runs all training rows. Of the runs that the metric accepts, each predictor's part becomes an example:
    the chat in which the student would ask, and the teacher's answer. A job is submitted for each model that the
    student's predictors use, and followed to its end; it is found again, not submitted again, by whoever goes on with
    the run, and by later runs of the same work.

    Attributes:
        metric_threshold: Least score of a run to learn from; None accepts whatever the metric finds truthy. Without a
            metric, every run that does not fail counts.
        multitask: Whether one job trains a model for all predictors that use it; otherwise each predictor gets a model
            of its own.
        train_kwargs: Hyperparameters: `n_epochs`, `batch_size`, `learning_rate_multiplier`, and OpenAI's `suffix` and
            `seed`; for a trainer, whatever it takes.
        adapter: What writes the examples, and from then on the prompts: an adapter, its configuration or its name. None
            takes each predictor's own, or the one in force.
        exclude_demos: Whether demos are left out of the examples, and of the program afterwards: what the model has
            learnt it need not be shown.
        num_threads: Not used; the LM's limit says how many runs are in flight.
        trainer: A `Trainer` that trains in place of the provider: a function, or "package.module:function". Durable
            runs import it where workers trust its package.
        poll_seconds: The first wait before a job is asked about again.
        cancel_jobs: Whether a cancelled run cancels its jobs at the provider; otherwise they go on, and are found again
            by the run that resumes it.

    Source: Soylu et al. 2024, "Fine-Tuning and Prompt Optimization: Two Great Steps that Work Better Together", section
    3; semantics as in DSPy 3, but that examples are written with the student's instructions and demos, not the
    teacher's: a model is trained on what it will be asked.
    """

    name: ClassVar[str] = "bootstrap_finetune"

    metric_threshold: float | None = None
    multitask: bool = True
    train_kwargs: dict[str, Any] = Field(default_factory=dict)
    adapter: Annotated[AdapterConfig | None, BeforeValidator(_adapter)] = None
    exclude_demos: bool = False
    num_threads: int | None = None
    trainer: Annotated[CodeReference | Callable[..., Any] | None, BeforeValidator(_trainer)] = None
    poll_seconds: float = Field(default=20.0, gt=0)
    cancel_jobs: bool = False

    @field_serializer("trainer")
    def _written_trainer(self, trainer: CodeReference | Callable[..., Any] | None) -> Any:
        written = trainer if trainer is None or isinstance(trainer, CodeReference) else None
        written = written or (None if trainer is None else reference_to(trainer, what="trainer"))
        return None if written is None else written.model_dump()

    def imported_paths(self) -> tuple[str, ...]:
        """The trainer's."""
        return (self.trainer.path,) if isinstance(self.trainer, CodeReference) else ()

    def check(
        self, student: Program, trainset: Dataset, valset: Dataset | None, teacher: Program | None = None
    ) -> None:
        """Refuse, besides, options that no provider takes, and rows that are too few for one."""
        super().check(student, trainset, valset, teacher)
        if self.trainer is not None:
            return
        if unknown := sorted(self.train_kwargs.keys() - TRAIN_KWARGS):
            raise ConfigurationError(
                f"train_kwargs: fine-tuning takes no {unknown[0]!r}; it takes {', '.join(sorted(TRAIN_KWARGS))}"
            )
        rows = len(trainset) * (len(student.get_state().predictors) if self.multitask else 1)
        if rows < FEWEST_EXAMPLES:
            raise DatasetError(
                f"the training set has {len(trainset)} rows: fine-tuning takes {FEWEST_EXAMPLES} examples at least"
            )

    async def search(self, search: Search[P]) -> ProgramState:
        """Collect examples, train on them, and score the program bound to the outcome."""
        student = self._asking(search.student.get_state())
        steps = self._grouped(student, await self._traces(search), default=search.task_lm)
        program = search.student.with_state(student)
        models = await all_of(self._tuned(search, program, group, steps[group]) for group in steps)
        tuned = self._bound(student, dict(zip(steps, models, strict=True)), default=search.task_lm)
        await search.evaluate(tuned, "fine-tuned", parent=0)
        return tuned

    def _asking(self, state: ProgramState) -> ProgramState:
        """The state with the demos and adapters that the tuned program will ask with."""
        change: dict[str, Any] = {} if self.adapter is None else {"adapter": self.adapter}
        if self.exclude_demos:
            change["demos"] = ()
        return ProgramState(predictors={name: p.model_copy(update=change) for name, p in state.predictors.items()})

    async def _traces(self, search: Search[P]) -> list[RowTrace]:
        """The teacher's successful runs, in the order of the rows."""
        count = len(search.trainset)
        step = max(FEWEST_ROWS_A_REQUEST, -(-count // MOST_REQUESTS))
        search.phase("collecting examples", detail=f"the teacher runs {count} rows")
        requests = [
            TraceRequest(
                rows=tuple(range(start, min(start + step, count))),
                metric=self.metric,
                threshold=self.metric_threshold,
                lm=search.teacher_lm or search.task_lm,
            )
            for start in range(0, count, step)
        ]
        teacher = search.teacher or search.student
        results = await all_of(search.trace(teacher, request) for request in requests)
        return [trace for result in results for trace in result.accepted]

    def _grouped(
        self, state: ProgramState, traces: Sequence[RowTrace], *, default: LMConfig | None
    ) -> dict[Group, list[TrainingStep]]:
        """Examples by the job that they are for, in an order drawn by the seed."""
        steps: dict[Group, list[TrainingStep]] = {}
        for name, predictor in state.predictors.items():
            found = [step for trace in traces for step in trace.demos.get(name, ())]
            group = steps.setdefault(self._group(name, predictor, default), [])
            # An output that is missing is nothing to learn from.
            group += [TrainingStep(predictor=name, values=values) for values in found if None not in values.values()]
        for group in steps.values():
            random.Random(self.seed).shuffle(group)  # noqa: S311 - repeatable by design
        fewest = FEWEST_EXAMPLES if self.trainer is None else 1
        for (_, name), group in steps.items():
            if len(group) < fewest:
                raise DatasetError(
                    f"the teacher's successful runs, {len(traces)}, give {len(group)} examples{name and f' for {name}'}"
                    f", and training takes {fewest} at least: give more rows, a better teacher (teacher_lm=…) or a "
                    "lower metric_threshold"
                )
        return steps

    def _group(self, name: str, predictor: PredictorState, default: LMConfig | None) -> Group:
        return predictor.lm or default, "" if self.multitask else name

    async def _tuned(self, search: Search[P], program: P, group: Group, steps: Sequence[TrainingStep]) -> LMConfig:
        """The model that comes out of a job."""
        request = FineTuningRequest(
            steps=tuple(steps), lm=group[0], train_kwargs=self.train_kwargs, trainer=self.trainer
        )
        search.phase("fine-tuning", detail=f"submitting {len(steps)} examples")
        # Shielded, so that a job that is being submitted is known to whoever must cancel it.
        starting = asyncio.ensure_future(search.runtime.start_fine_tuning(program, request))
        try:
            return await self._followed(search, await asyncio.shield(starting))
        except asyncio.CancelledError:
            if self.cancel_jobs:
                await search.runtime.cancel_fine_tuning(await starting)
            else:
                starting.cancel()
            raise

    async def _followed(self, search: Search[P], job: FineTuningJob) -> LMConfig:
        told, asked = "", 0
        while True:
            if job.status != told:
                told = job.status
                search.phase("fine-tuning", detail=_described(job))
            if job.tuned is not None:
                return job.tuned
            if job.ended:
                raise FineTuningError(_described(job))
            # In a workflow this is a timer, and outlives every process.
            await asyncio.sleep(self.poll_seconds * min(SLOWEST, 1 + asked / 10))
            asked += 1
            job = await search.runtime.follow_fine_tuning(job)

    def _bound(self, state: ProgramState, models: dict[Group, LMConfig], *, default: LMConfig | None) -> ProgramState:
        """The state with each predictor asking the model that was trained for it."""
        return ProgramState(
            predictors={
                name: predictor.model_copy(update={"lm": models[self._group(name, predictor, default)]})
                for name, predictor in state.predictors.items()
            }
        )


def _described(job: FineTuningJob) -> str:
    outcome = f": {job.tuned.model}" if job.tuned else f": {job.reason}" if job.reason else ""
    return f"job {job.job_id} on {job.examples} examples for {job.lm.model} {job.status}{outcome}"
