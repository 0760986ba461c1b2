"""Events: what happens in a run, as small frozen models that anyone in the process may subscribe to.

    with events.subscribe() as stream:
        await triage(text="I was charged twice")
        print(await anext(aiter(stream)))

Events of runs tell how an optimizer gets on; events of calls tell of every module, model, tool and search, and which
was called within which. The latter are made only while somebody subscribes to them.

Emitting an event never changes what is computed: a subscriber that reads too slowly loses its oldest events and gets
an `EventsLost` in their place.
"""

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
from dspex_core.events._subscription import Subscription, listen, muted, publish, subscribe, wanted, watched
from dspex_core.events._union import CALLS, RUNS, Event, EventsLost

__all__ = [
    "CALLS",
    "RUNS",
    "AdapterFellBack",
    "ApprovalDecided",
    "ApprovalRequested",
    "BreakerChanged",
    "BudgetSet",
    "CandidateEvaluated",
    "CandidateProposed",
    "Event",
    "EventsLost",
    "LMEnd",
    "LMFellBack",
    "LMStart",
    "ModuleEnd",
    "ModuleStart",
    "OptimizationStep",
    "OptimizerFinished",
    "OptimizerStarted",
    "ParametersRefused",
    "PhaseStarted",
    "RetrievalEnd",
    "RetrievalStart",
    "RowsEvaluated",
    "RunFinished",
    "RunHeldUp",
    "RunParked",
    "RunPaused",
    "RunResumed",
    "StructuredOutputRefused",
    "Subscription",
    "TextStreamed",
    "ToolCalled",
    "ToolFinished",
    "UsageAdded",
    "listen",
    "muted",
    "publish",
    "subscribe",
    "wanted",
    "watched",
]
