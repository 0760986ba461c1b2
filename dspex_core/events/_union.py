from typing import Annotated, Literal, get_args

from pydantic import Field

from dspex_core.events._base import EventModel
from dspex_core.events._calls import (
    LMEnd,
    LMStart,
    ModuleEnd,
    ModuleStart,
    RetrievalEnd,
    RetrievalStart,
    ToolCalled,
    ToolFinished,
)
from dspex_core.events._lm import (
    AdapterFellBack,
    BreakerChanged,
    LMFellBack,
    ParametersRefused,
    StructuredOutputRefused,
)
from dspex_core.events._runs import (
    ApprovalDecided,
    ApprovalRequested,
    BudgetSet,
    CandidateEvaluated,
    CandidateProposed,
    OptimizationStep,
    OptimizerFinished,
    OptimizerStarted,
    PhaseStarted,
    RowsEvaluated,
    RunFinished,
    RunHeldUp,
    RunParked,
    RunPaused,
    RunResumed,
    TextStreamed,
    UsageAdded,
)


class EventsLost(EventModel):
    """A subscriber read too slowly; this many events were dropped before the next one."""

    type: Literal["events_lost"] = "events_lost"
    count: int


Event = Annotated[
    OptimizerStarted
    | PhaseStarted
    | RowsEvaluated
    | CandidateProposed
    | CandidateEvaluated
    | OptimizationStep
    | UsageAdded
    | BudgetSet
    | RunHeldUp
    | RunFinished
    | RunPaused
    | RunParked
    | RunResumed
    | ApprovalRequested
    | ApprovalDecided
    | TextStreamed
    | AdapterFellBack
    | StructuredOutputRefused
    | ParametersRefused
    | LMFellBack
    | ModuleStart
    | ModuleEnd
    | LMStart
    | LMEnd
    | ToolCalled
    | ToolFinished
    | RetrievalStart
    | RetrievalEnd
    | BreakerChanged
    | OptimizerFinished
    | EventsLost,
    Field(discriminator="type"),
]
"""Everything that can happen; `type` tells which it is."""

CALLS = frozenset(
    {
        "module_start",
        "module_end",
        "lm_start",
        "lm_end",
        "tool_called",
        "tool_finished",
        "retrieval_start",
        "retrieval_end",
    }
)
"""Types of the events that tell of single calls. There are many of them; they are made only if somebody wants some."""

RUNS = frozenset(get_args(model.model_fields["type"].annotation)[0] for model in get_args(get_args(Event)[0])) - CALLS
"""Types of all other events, of which there are few."""
