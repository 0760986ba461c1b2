import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ChildWorkflowError, FailureError, is_cancelled_exception

from dspex_core.requests import ProgramAnswer, ProgramOutline
from dspex_core.seam import ENDS_ALIKE, LMConfig, Program, current_rollout, current_rollout_temperature

from ._control import Controlled, cancellations, heed_cancellation, in_background
from ._values import PartStanding, ProgramRunInput

if TYPE_CHECKING:
    from dspex_core.modules import Module

PROGRAM_RUN = "ProgramRun"


class Parts:
    """Supervised parts of a program run: a child workflow each, restarted by itself.

    Args:
        run: The run; it shows that a part is held up, or goes on.
        on_change: Told whenever that changes.
    """

    def __init__(self, run: Controlled, on_change: Callable[[], None] | None = None) -> None:
        self._searchable = run.searchable
        self._gate = run.gate
        self._on_change = on_change or run.show
        self._begun = 0
        self._under_way: dict[str, workflow.ChildWorkflowHandle[Any, ProgramAnswer]] = {}
        self._held: dict[str, PartStanding] = {}
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> tuple[PartStanding, ...]:
        """The parts that wait for something."""
        return tuple(self._held.values())

    @property
    def are_under_way(self) -> bool:
        """Whether any part runs."""
        return bool(self._under_way)

    def skip(self) -> None:
        """Leave out the number of a part that an earlier leg of the run has run."""
        self._begun += 1

    def request(self, part: Program, inputs: dict[str, Any], *, lm: LMConfig) -> ProgramRunInput:
        """What a part needs to run, with this model in force."""
        return ProgramRunInput(
            program=ProgramOutline.of(cast("Module", cast("Any", part))),
            lm=lm,
            inputs=inputs,
            searchable=self._searchable,
            rollout=current_rollout(),
            rollout_temperature=current_rollout_temperature(),
        )

    async def run(self, request: ProgramRunInput, *, tries: int) -> ProgramAnswer:
        """Run a part to its end; begin it so often in all.

        Raises:
            ChildWorkflowError: What its last try ended with.
        """
        structure = request.program.structure
        self._begun += 1
        part_id = f"{workflow.info().workflow_id}/part-{self._begun}"
        told_before = cancellations()
        try:
            child = self._under_way[part_id] = await workflow.start_child_workflow(
                PROGRAM_RUN,
                request,
                id=part_id,
                result_type=ProgramAnswer,
                static_summary=structure.code.path if structure.kind == "imported" else structure.module,
                retry_policy=RetryPolicy(
                    maximum_attempts=tries,
                    initial_interval=timedelta(seconds=1),
                    maximum_interval=timedelta(seconds=20),
                    non_retryable_error_types=_names(ENDS_ALIKE),
                ),
                cancellation_type=workflow.ChildWorkflowCancellationType.TRY_CANCEL,
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            )
            if not self._gate.is_open:
                self.tell("hold", to=part_id)
            answer = await child
        except ChildWorkflowError as error:
            # What decides knows no Temporal: to it, a cancellation is asyncio's.
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise
        finally:
            self._under_way.pop(part_id, None)
            self.stands(PartStanding(run_id=part_id))
        heed_cancellation(since=told_before)
        return answer

    def stands(self, standing: PartStanding) -> None:
        """Take in where a part stands."""
        before = self._held.pop(standing.run_id, None)
        if standing.waits_for is not None:
            self._held[standing.run_id] = standing
        if before is not None or standing.waits_for is not None:
            self._on_change()
        if standing.begins_anew and self._gate.is_open:
            self.tell("go_on", to=standing.run_id)

    def tell(self, word: str, *, to: str | None = None) -> None:
        """Send a signal to a part, or to every part under way."""

        async def tell(child: workflow.ChildWorkflowHandle[Any, ProgramAnswer]) -> None:
            # One that has just ended has nothing to heed.
            with suppress(FailureError):
                await child.signal(word)

        for part_id, child in self._under_way.items():
            if to in {None, part_id}:
                in_background(self._telling, asyncio.create_task(tell(child)))


def _names(kinds: tuple[type[BaseException], ...]) -> list[str]:
    """Names of these exceptions and all that are made of them."""
    return sorted({name for kind in kinds for name in (kind.__name__, *_names(tuple(kind.__subclasses__())))})


async def tell_parent(standing: PartStanding) -> None:
    """Tell the run that this workflow is a part of where it stands."""
    parent = workflow.info().parent
    if parent is not None:
        # One that has just ended wants to know nothing.
        with suppress(FailureError):
            await workflow.get_external_workflow_handle(parent.workflow_id).signal("part_stands", standing)
