from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from dspex_core.errors import DSPExError
from dspex_core.evaluate import describe
from dspex_core.events import Event, muted
from dspex_core.modules import build_program, is_deterministic
from dspex_core.requests import ProgramAnswer, RunProgram
from dspex_core.seam import scoped_runtime

from ._approvals import Approvals
from ._control import Controlled
from ._log import EventLog
from ._runtime import WorkflowRuntime
from ._values import AwaitedApproval, ControlStatus, ProgramRunInput, Verdict

PROGRAM_RUN = "ProgramRun"


@workflow.defn(name=PROGRAM_RUN)
class ProgramRun(Controlled):
    """Runs a program once.

    Built-in modules run in the workflow, each model call an activity of its own; a user's own class, or a module that
    calls a function of a user's, runs in one activity, where no rule of determinism touches it.
    """

    @workflow.init
    def __init__(self, input: ProgramRunInput) -> None:  # noqa: A002 - Temporal's word for it
        super().__init__(searchable=input.searchable)
        self._log = EventLog()
        self._approvals = Approvals(self.on_gate)
        self._runtime = WorkflowRuntime(input.lm, run=self, decision=self._approvals.decision)

    @workflow.run
    async def run(self, input: ProgramRunInput) -> ProgramAnswer:  # noqa: A002
        """Run the program on its inputs."""
        try:
            if is_deterministic(input.program.structure):
                return await self._run_here(input)
            return await self._runtime.run_program(RunProgram(program=input.program, lm=input.lm, inputs=input.inputs))
        finally:
            self._log.flush()

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

    def approvals_awaited(self) -> tuple[AwaitedApproval, ...]:
        """Calls of tools that wait for a person."""
        return self._approvals.waiting

    def waits_for(self) -> str | None:
        """A person's decision on calls of tools."""
        return self._approvals.reason()

    def details(self) -> str:
        """The calls that wait for a person."""
        return self._approvals.details()

    def on_gate(self, event: Event) -> None:
        """Enter it among the run's events."""
        self._log.append(event)
        super().on_gate(event)

    async def _run_here(self, input: ProgramRunInput) -> ProgramAnswer:  # noqa: A002
        program = build_program(input.program.structure, trust=(), import_tools=False).with_state(input.program.state)
        try:
            with scoped_runtime(self._runtime), muted():
                prediction = await program(**input.inputs)
        except (DSPExError, FailureError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a value of the wrong type may raise
            # Inputs are a user's and may be of any type; Temporal would try what any other error ends again, for ever.
            raise ApplicationError(describe(error), type=type(error).__name__, non_retryable=True) from None
        return ProgramAnswer(outputs=prediction.to_dict(), usage=prediction.usage)
