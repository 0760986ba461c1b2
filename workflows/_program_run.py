import asyncio
from contextlib import aclosing
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from dspex_core.errors import DSPExError
from dspex_core.evaluate import describe
from dspex_core.events import Event, RunParked, RunResumed, TextStreamed, muted
from dspex_core.modules import Module, build_in_workflow, is_deterministic
from dspex_core.record import Prediction
from dspex_core.references import importing_nothing
from dspex_core.requests import ProgramAnswer, RunProgram, StreamedPieces, StreamedText
from dspex_core.seam import current_rollout, current_rollout_temperature, rolled_out, scoped_runtime

from ._approvals import Approvals
from ._control import Controlled, in_background
from ._log import EventLog
from ._parts import PROGRAM_RUN, Parts, tell_parent
from ._program_runtime import ProgramRuntime
from ._values import AwaitedApproval, ControlStatus, PartStanding, ProgramRunInput, Verdict


@workflow.defn(name=PROGRAM_RUN)
class ProgramRun(Controlled):
    """Runs a program once.

    Built-in modules run in the workflow, each model call an activity of its own; a user's own class, or a module that
    calls a function of a user's, runs in one activity, where no rule of determinism touches it.
    """

    @workflow.init
    def __init__(self, input: ProgramRunInput) -> None:  # noqa: A002 - Temporal's word for it
        super().__init__(searchable=input.searchable, limits=input.limits, seconds=input.seconds)
        self._log = EventLog(input.events)
        self._approvals = Approvals(self.on_gate, input.decided)
        self._parts = Parts(self, self._on_part)
        self._telling: set[asyncio.Task[None]] = set()
        self._runtime = ProgramRuntime(input, run=self, approvals=self._approvals, parts=self._parts)
        self.gate.on_closing(lambda: self._parts.tell("hold"))

    @workflow.run
    async def run(self, input: ProgramRunInput) -> ProgramAnswer:  # noqa: A002
        """Run the program on its inputs."""
        try:
            if self._is_part and workflow.info().attempt > 1:
                # The run may have been held up before this try, which has not been told.
                self.gate.paused = True
                await tell_parent(PartStanding(run_id=workflow.info().workflow_id, begins_anew=True))
            # A part that is begun anew is a fresh sample: the same answers would lead it to the same end.
            restarts = input.restarts + workflow.info().attempt - 1
            with rolled_out(input.rollout, temperature=input.rollout_temperature), rolled_out(restarts):
                answering = asyncio.create_task(self._answer(input))
            try:
                await workflow.wait_condition(lambda: answering.done() or self._runtime.is_at_rest)
                if answering.done():
                    return await answering
            finally:
                answering.cancel()
            workflow.continue_as_new(self._next_leg(input, restarts))
        except ActivityError as error:
            # Whether a part is begun anew goes by what happened, which Temporal looks for at the outside.
            if self._is_part and isinstance(error.cause, ApplicationError):
                raise ApplicationError(error.cause.message, type=error.cause.type) from None
            raise
        finally:
            self._log.flush()
            self.show_now()

    @workflow.update
    def approve(self, verdict: Verdict) -> ControlStatus:
        """Let a call that waits for a person be made."""
        self._approvals.decide(verdict, approved=True)
        return self.control()

    @approve.validator
    def _may_be_approved(self, verdict: Verdict) -> None:
        self._approvals.check(verdict, approved=True)

    @workflow.update
    def reject(self, verdict: Verdict) -> ControlStatus:
        """Let a call that waits for a person not be made; the model reads so, and the run goes on."""
        self._approvals.decide(verdict, approved=False)
        return self.control()

    @reject.validator
    def _may_be_rejected(self, verdict: Verdict) -> None:
        self._approvals.check(verdict, approved=False)

    @workflow.signal
    def streamed(self, heard: StreamedText) -> None:
        """Take in some of the text of a model's answer."""
        self._runtime.hear(heard)

    @workflow.signal
    def streamed_pieces(self, heard: StreamedPieces) -> None:
        """Take in pieces of outputs of a program that runs in one activity."""
        for piece in heard.pieces:
            self._log.append(piece)

    @workflow.signal
    def part_stands(self, standing: PartStanding) -> None:
        """Take in that a part of this run is held up, or goes on."""
        self._parts.stands(standing)

    @workflow.signal
    def hold(self) -> None:
        """Begin nothing new, because the run that this is a part of does not."""
        self.gate.pause()

    @workflow.signal
    def go_on(self) -> None:
        """Go on, as the run that this is a part of does."""
        self.gate.resume()
        self.on_resume()

    def on_resume(self) -> None:
        """The parts."""
        self._parts.tell("go_on")

    def approvals_awaited(self) -> tuple[AwaitedApproval, ...]:
        """Calls of tools that wait for a person, here and in parts."""
        return sum((part.approvals for part in self._parts.held), start=self._approvals.waiting)

    def waits_for(self) -> str | None:
        """A person's decision on calls of tools, or what a part waits for."""
        return self._approvals.reason() or next((part.waits_for for part in self._parts.held), None)

    def details(self) -> str:
        """The calls that wait for a person, and what parts wait for."""
        held = (f"`{part.run_id}`: {part.waits_for}" for part in self._parts.held)
        return "\n\n".join(filter(None, [self._approvals.details(), *held]))

    def on_gate(self, event: Event) -> None:
        """Enter it among the run's events."""
        self._log.append(event)
        super().on_gate(event)
        if self._is_part:
            standing = PartStanding(
                run_id=workflow.info().workflow_id,
                waits_for=self.gate.parked_reason or self.waits_for(),
                approvals=self.approvals_awaited(),
            )
            in_background(self._telling, asyncio.create_task(tell_parent(standing)))

    @property
    def _is_part(self) -> bool:
        return workflow.info().parent is not None

    def _on_part(self) -> None:
        waits_for = self.waits_for()
        self.on_gate(RunResumed() if waits_for is None else RunParked(reason=waits_for))

    def _next_leg(self, input: ProgramRunInput, restarts: int) -> ProgramRunInput:  # noqa: A002
        self._log.flush()
        return input.model_copy(
            update={
                "journal": self._runtime.journal.entries,
                "decided": self._approvals.decided,
                "events": self._log.written,
                "restarts": restarts,
                "limits": self.ledger.limits,
                "seconds": self.gate.seconds,
            }
        )

    async def _answer(self, input: ProgramRunInput) -> ProgramAnswer:  # noqa: A002
        if is_deterministic(input.program.structure):
            return await self._run_here(input)
        request = RunProgram(
            program=input.program,
            lm=input.lm,
            inputs=input.inputs,
            rollout=current_rollout(),
            rollout_temperature=current_rollout_temperature(),
            stream=input.stream,
        )
        return await self._runtime.run_program(request)

    async def _streamed(self, program: Module, inputs: dict[str, Any]) -> Prediction:
        prediction = Prediction({})
        async with aclosing(program.stream(**inputs)) as items:
            async for item in items:
                if isinstance(item, Prediction):
                    prediction = item
                else:
                    piece = TextStreamed(
                        predictor=item.predictor, field=item.field, text=item.text, attempt=item.attempt
                    )
                    self._log.append(piece)
        return prediction

    async def _run_here(self, input: ProgramRunInput) -> ProgramAnswer:  # noqa: A002
        with importing_nothing():
            program = build_in_workflow(input.program.structure, input.program.state)
        try:
            with importing_nothing(), scoped_runtime(self._runtime), muted():
                work = self._streamed(program, input.inputs) if input.stream else program(**input.inputs)
                prediction = await work
        except (DSPExError, FailureError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a value of the wrong type may raise
            # Inputs are a user's and may be of any type; Temporal would try what any other error ends again, for ever.
            raise ApplicationError(describe(error), type=type(error).__name__) from None
        return ProgramAnswer(outputs=prediction.to_dict(), usage=prediction.usage)
