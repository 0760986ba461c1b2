from collections.abc import Callable, Sequence
from typing import Any, cast

from dspex_core.events import CandidateEvaluated, CandidateProposed, Event, OptimizationStep
from dspex_core.record import Example
from dspex_core.seam import Dataset, Program, Runtime, TraceRequest, TraceResult

CandidateEvent = CandidateProposed | CandidateEvaluated | OptimizationStep
"""What names candidates by their numbers."""


class StepRuntime:
    """A runtime whose rows of one data set come in another order, and whose candidates are told under other numbers.

    Args:
        runtime: What does everything.
        dataset: The data set.
        order: Its rows in the order in which they are to appear; None leaves them as they are.
        renamed: The event to tell in place of one about a candidate; None if it is not to be told.
    """

    def __init__(
        self,
        runtime: Runtime,
        dataset: Dataset,
        order: Sequence[int] | None,
        renamed: Callable[[CandidateEvent], CandidateEvent | None],
    ) -> None:
        self._runtime = runtime
        self._dataset = dataset
        self._order = order
        self._renamed = renamed

    def __getattr__(self, name: str) -> Any:
        # All that has nothing to do with rows is the runtime's own.
        return getattr(self._runtime, name)

    def as_runtime(self) -> Runtime:
        """This, for a type checker, which does not see what `__getattr__` gives."""
        return cast("Runtime", cast("Any", self))

    async def rows(self, dataset: Dataset, indices: Sequence[int]) -> list[Example]:
        """Rows, those of the data set in its other order."""
        return await self._runtime.rows(self._source(dataset), self._mapped(dataset, indices))

    async def trace(self, program: Program, dataset: Dataset, request: TraceRequest) -> TraceResult:
        """Rows run and recorded, those of the data set in its other order."""
        wanted = self._mapped(dataset, request.rows)
        result = await self._runtime.trace(program, self._source(dataset), request.model_copy(update={"rows": wanted}))
        asked = dict(zip(wanted, request.rows, strict=True))
        return result.model_copy(
            update={
                found: tuple(trace.model_copy(update={"row": asked[trace.row]}) for trace in getattr(result, found))
                for found in ("accepted", "rejected")
            }
        )

    def emit(self, event: Event) -> None:
        """Tell whoever watches."""
        told = self._renamed(event) if isinstance(event, CandidateEvent) else event
        if told is not None:
            self._runtime.emit(told)

    def _source(self, dataset: Dataset) -> Dataset:
        """The data set that has the rows of another."""
        return dataset

    def _mapped(self, dataset: Dataset, indices: Sequence[int]) -> tuple[int, ...]:
        if self._order is None or dataset is not self._dataset:
            return tuple(indices)
        return tuple(self._order[index] for index in indices)
