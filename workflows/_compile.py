from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import FailureError

from dspex_core.budget import Limits
from dspex_core.errors import DSPExError, EvaluationError, ProgramError
from dspex_core.evaluate import describe
from dspex_core.events import BreakerChanged, BudgetSet, Event
from dspex_core.optimizers import OPTIMIZERS, CompileResult, Optimizer, optimizer_named
from dspex_core.programs import DeclaredProgram
from dspex_core.progress import Progress
from dspex_core.references import importing_nothing
from dspex_core.requests import BREAKER_CHANGED, ProgramOutline
from dspex_core.seam import EarlyEnd, StoredDataset, may_end_early, scoped_runtime

from ._control import Controlled
from ._details import CandidateTable, details_of
from ._finished import Finished
from ._log import EventLog
from ._own_optimizer import OWN_OPTIMIZER, own_optimizer
from ._runtime import WorkflowRuntime
from ._search_attributes import BEST_SCORE, COST_USD, LM_CALLS, OPTIMIZER, PHASE, PROGRAM, STATUS
from ._values import CompileInput, CompileOutput, CompileStatus, ControlStatus

CANCELLED = "cancelled"


class CompileRun(Controlled):
    """What every compile workflow does: run its optimizer on the workflow runtime, and say where it stands."""

    def __init__(self, input: CompileInput) -> None:  # noqa: A002 - Temporal's word for it
        super().__init__(searchable=input.searchable, limits=input.budget)
        self._input = input
        self._log = EventLog()
        self._end = EarlyEnd(paid=lambda: self.ledger.usage)
        self._progress = Progress(optimizer=_class_name(input))
        self._table = CandidateTable()
        self._runtime = WorkflowRuntime(
            input.lm,
            run=self,
            metric=input.metric,
            chunk_rows=input.chunk_rows,
            activity_queue=input.activity_queue,
            on_event=self._follow,
            finished=Finished(resumed=input.resumed),
        )

    async def compile(self) -> CompileOutput:
        """Run the optimizer to its end."""
        try:
            return await self._compile()
        finally:
            self._log.flush()
            self.show_now()

    async def _compile(self) -> CompileOutput:
        given = self._input
        if given.budget is not None:
            self._follow(BudgetSet(budget=given.budget.limits))
        kind = await self._kind()
        with importing_nothing(), scoped_runtime(self._runtime), may_end_early(self._end):
            options = {} if kind is Optimizer else given.options
            optimizer = kind.from_options({**options, "metric": given.metric.path})
            with _defects_of(kind):
                result = await optimizer.compile(
                    given.program,
                    trainset=given.trainset,
                    valset=given.valset if given.folds is None else None,
                    folds=given.folds,
                    teacher=given.teacher,
                    teacher_lm=given.teacher_lm,
                )
        output = _written_down(result, given.valset)
        if self._end.reason != CANCELLED:
            return output
        if given.searchable:
            workflow.upsert_search_attributes([STATUS.value_set(CANCELLED)])  # pyright: ignore[reportUnknownMemberType]
        return output.model_copy(update={"cancelled": True})

    async def _kind(self) -> type[Optimizer]:
        """What searches; for a run that is ended before its worker has a user's own, what finds nothing."""
        given = self._input
        if given.optimizer_code is None:
            return optimizer_named(given.optimizer)
        with self._end.of_this_task():
            return await own_optimizer(given.optimizer_code, self._runtime)
        return Optimizer

    @workflow.update
    def cancel(self) -> ControlStatus:
        """End with the best found so far."""
        self._end.now(CANCELLED)
        return self.control()

    @workflow.signal(name=BREAKER_CHANGED)
    def breaker_changed(self, change: BreakerChanged) -> None:
        """A worker leaves a model alone that keeps failing, or has an answer again."""
        self._follow(change)

    def compile_status(self) -> CompileStatus:
        """Where the run stands."""
        return CompileStatus(
            progress=self._progress, evaluation_ids=self._runtime.evaluation_ids, control=self.control()
        )

    def details(self) -> str:
        """What a compile has found so far."""
        return details_of(self._progress, self._table)

    def on_budget_reached(self, reason: str) -> None:
        """End with the best found so far, or wait for a larger one, as asked."""
        if self._input.budget is not None and self._input.budget.on_limit == "finish":
            self._end.now(reason)
        else:
            super().on_budget_reached(reason)

    def on_budget(self, limits: Limits) -> None:
        """Enter it among the run's events."""
        self._follow(BudgetSet(budget=limits))

    def on_gate(self, event: Event) -> None:
        """Enter it among the run's events."""
        self._log.append(event)
        super().on_gate(event)

    def _follow(self, event: Event) -> None:
        self._log.append(event)
        before, self._progress = self._progress, self._progress.after(event)
        self._table.take(event)
        self.show()
        # Each upsert is an event in the history: only what an operator sorts by, and only when it changes.
        if self._input.searchable and _sorted_by(before) != _sorted_by(self._progress):
            workflow.upsert_search_attributes(self._attributes())  # pyright: ignore[reportUnknownMemberType]

    def _attributes(self) -> list[SearchAttributeUpdate[Any]]:
        progress = self._progress
        structure = self._input.program.structure
        name = structure.code.path if structure.kind == "imported" else _name_of(structure)
        updates: list[SearchAttributeUpdate[Any]] = [
            OPTIMIZER.value_set(progress.optimizer),
            PROGRAM.value_set(name),
            PHASE.value_set(progress.phase),
            LM_CALLS.value_set(progress.usage_so_far.lm_calls),
            STATUS.value_set(self.gate.standing),
        ]
        if self._table.best_score is not None:
            updates.append(BEST_SCORE.value_set(self._table.best_score))
        cost = progress.usage_so_far.cost_usd
        # Known at first, because nothing was spent, it may become unknown.
        updates.append(COST_USD.value_unset() if cost is None else COST_USD.value_set(cost))
        return updates


def _name_of(structure: DeclaredProgram) -> str:
    return structure.module if structure.signature is None else structure.signature.name


def _sorted_by(progress: Progress) -> tuple[str, int]:
    return progress.phase, len(progress.candidates)


def _written_down(result: CompileResult[ProgramOutline], valset: StoredDataset) -> CompileOutput:
    if result.ended_early is None and (result.score is None or result.baseline_score is None):
        raise EvaluationError("the optimizer scored no candidate")
    return CompileOutput(
        program=result.program,
        score=result.score,
        baseline_score=result.baseline_score,
        candidates=result.candidates,
        usage=result.usage,
        scored_rows=result.scored_rows,
        baseline_scores=result.baseline_scores,
        best_scores=result.best_scores,
        valset=valset,
        ended_early=result.ended_early,
        folds=result.folds,
    )


def _class_name(given: CompileInput) -> str:
    code = given.optimizer_code
    return optimizer_named(given.optimizer).__name__ if code is None else code.path.rpartition(":")[2]


@contextmanager
def _defects_of(kind: type[Optimizer]) -> Generator[None]:
    """Have a defect of a user's own search fail the run, which can be resumed once it is mended.

    One of ours fails the workflow's task, until a worker with a mended release goes on.
    """
    try:
        yield
    except (DSPExError, FailureError):
        raise
    except Exception as error:
        if kind in OPTIMIZERS.values():
            raise
        raise ProgramError(f"{kind.__name__}.search failed with {describe(error)}") from None


def _workflow_of(name: str, *, sandboxed: bool = True) -> type[CompileRun]:
    """A workflow type of the optimizer's own, so that Temporal's Web UI names what runs."""

    def init(self: CompileRun, input: CompileInput) -> None:  # noqa: A002
        CompileRun.__init__(self, input)

    async def run(self: CompileRun, input: CompileInput) -> CompileOutput:  # noqa: A002
        del input  # the constructor has it
        return await self.compile()

    def status(self: CompileRun) -> CompileStatus:
        return self.compile_status()

    # Temporal refuses local classes, because it imports a workflow by its name; these are put under theirs below.
    init.__name__ = "__init__"
    for method in (init, run, status):
        method.__qualname__ = f"{name}.{method.__name__}"
        del method.__annotations__["self"]  # Temporal takes an annotated one for an argument
    members = {"__init__": workflow.init(init), "run": workflow.run(run), "status": workflow.query(status)}
    return workflow.defn(name=name, sandboxed=sandboxed)(type(name, (CompileRun,), {"__module__": __name__, **members}))


COMPILE_WORKFLOWS: dict[str, type[CompileRun]] = {
    **{name: _workflow_of(found.__name__) for name, found in OPTIMIZERS.items()},
    # Outside the sandbox, in which much of what users import, NumPy for one, does not bear to be imported.
    OWN_OPTIMIZER: _workflow_of(OWN_OPTIMIZER, sandboxed=False),
}
"""Compile workflows by the optimizer's registered name; users' own have one in common."""

globals().update({found.__name__: found for found in COMPILE_WORKFLOWS.values()})
