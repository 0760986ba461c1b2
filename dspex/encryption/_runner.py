from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.exceptions import ApplicationError
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import Info

from dspex.encryption._codec import still_encrypted

UNTOUCHED_EVENTS = 3
"""Events in the history of a run at its first task: it was started, a task was scheduled, and begun."""


class SealedWorkflowRunner(SandboxedWorkflowRunner):
    """The sandbox; a workflow whose payloads this worker cannot decrypt is not touched.

    A run that has just been started ends at once and says which key is missing. Of one under way, which may be worth
    much, only the task fails: the server offers it again, until a worker that has the key takes it.
    """

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """A workflow in the sandbox, behind the check."""
        instance = super().create_instance(det)
        activate = instance.activate

        def checked(act: WorkflowActivation) -> object:
            if (error := still_encrypted(act)) is None:
                return activate(act)
            if _has_just_started(det.info, act):
                raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True)
            raise error

        object.__setattr__(instance, "activate", checked)
        return instance


def _has_just_started(info: Info, act: WorkflowActivation) -> bool:
    first_of_all = info.parent is None and info.continued_run_id is None
    return first_of_all and act.history_length <= UNTOUCHED_EVENTS and not act.is_replaying
