"""Temporal workflows: the runtime inside a workflow, and one workflow for each kind of run. They do no I/O."""

from ._chunks import plan_chunks
from ._compile import COMPILE_WORKFLOWS, CompileRun
from ._evaluation import EVALUATION, Evaluation, evaluation_id
from ._log import EVENTS_MEMO
from ._own_optimizer import IMPORT_TRUSTED, OWN_OPTIMIZER
from ._parts import PROGRAM_RUN
from ._program_run import ProgramRun
from ._runtime import WorkflowRuntime
from ._search_attributes import BEST_SCORE, COST_USD, LM_CALLS, OPTIMIZER, PHASE, PROGRAM, SEARCH_ATTRIBUTES, STATUS
from ._values import (
    AwaitedApproval,
    CompileInput,
    CompileOutput,
    CompileStatus,
    ControlStatus,
    EvaluationInput,
    EvaluationOutput,
    EvaluationStatus,
    ProgramRunInput,
    Verdict,
)

WORKFLOWS: list[type] = [*COMPILE_WORKFLOWS.values(), Evaluation, ProgramRun]
"""Every workflow a worker must know."""

__all__ = [
    "BEST_SCORE",
    "COMPILE_WORKFLOWS",
    "COST_USD",
    "EVALUATION",
    "EVENTS_MEMO",
    "IMPORT_TRUSTED",
    "LM_CALLS",
    "OPTIMIZER",
    "OWN_OPTIMIZER",
    "PHASE",
    "PROGRAM",
    "PROGRAM_RUN",
    "SEARCH_ATTRIBUTES",
    "STATUS",
    "WORKFLOWS",
    "AwaitedApproval",
    "CompileInput",
    "CompileOutput",
    "CompileRun",
    "CompileStatus",
    "ControlStatus",
    "Evaluation",
    "EvaluationInput",
    "EvaluationOutput",
    "EvaluationStatus",
    "ProgramRun",
    "ProgramRunInput",
    "Verdict",
    "WorkflowRuntime",
    "evaluation_id",
    "plan_chunks",
]
