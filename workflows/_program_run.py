from temporalio import workflow

from dspex_core.modules import build_program
from dspex_core.programs import DeclaredProgram
from dspex_core.requests import RUN_PROGRAM, ProgramAnswer, RunProgram
from dspex_core.seam import scoped_runtime

from ._options import activity_options
from ._runtime import WorkflowRuntime
from ._values import ProgramRunInput

PROGRAM_RUN = "ProgramRun"


@workflow.defn(name=PROGRAM_RUN)
class ProgramRun:
    """Runs a program once.

    Built-in modules run in the workflow, each model call an activity of its own; a user's own class runs in one
    activity, where no rule of determinism touches it.
    """

    @workflow.run
    async def run(self, input: ProgramRunInput) -> ProgramAnswer:  # noqa: A002 - Temporal's word for it
        """Run the program on its inputs."""
        structure = input.program.structure
        if isinstance(structure, DeclaredProgram):
            program = build_program(structure, trust=(), import_tools=False).with_state(input.program.state)
            with scoped_runtime(WorkflowRuntime(input.lm)):
                prediction = await program(**input.inputs)
            return ProgramAnswer(outputs=prediction.to_dict(), usage=prediction.usage)
        return await workflow.execute_activity(
            RUN_PROGRAM,
            RunProgram(program=input.program, lm=input.lm, inputs=input.inputs),
            result_type=ProgramAnswer,
            **activity_options(),
        )
