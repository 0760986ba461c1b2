"""The seam between programs and the world: the Runtime protocol and the values that cross it."""

from dspex_core.seam._context import (
    Payer,
    UsageMeter,
    add_usage,
    current_payer,
    current_runtime,
    metered,
    paying,
    record_step,
    recorded_trace,
    scoped_runtime,
    set_default_runtime,
)
from dspex_core.seam._lm import LMConfig, LMRequest, LMResponse, Message
from dspex_core.seam._program import PredictorState, Program, ProgramState
from dspex_core.seam._runtime import (
    Dataset,
    Evaluation,
    RowTrace,
    Runtime,
    StoredDataset,
    TraceRequest,
    TraceResult,
    percent,
)
from dspex_core.seam._score import Metric, MetricLike, Score, TraceStep
from dspex_core.seam._tools import CallableTool, ToolCall, ToolResult

__all__ = [
    "CallableTool",
    "Dataset",
    "Evaluation",
    "LMConfig",
    "LMRequest",
    "LMResponse",
    "Message",
    "Metric",
    "MetricLike",
    "Payer",
    "PredictorState",
    "Program",
    "ProgramState",
    "RowTrace",
    "Runtime",
    "Score",
    "StoredDataset",
    "ToolCall",
    "ToolResult",
    "TraceRequest",
    "TraceResult",
    "TraceStep",
    "UsageMeter",
    "add_usage",
    "current_payer",
    "current_runtime",
    "metered",
    "paying",
    "percent",
    "record_step",
    "recorded_trace",
    "scoped_runtime",
    "set_default_runtime",
]
