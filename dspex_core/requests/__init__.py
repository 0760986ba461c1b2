"""Requests that workflows make of activities, and the answers."""

from dspex_core.requests._activities import (
    CALL_TOOL,
    EVALUATE_CHUNK,
    GENERATE,
    READ_ROWS,
    RUN_PROGRAM,
    TRACE_ROWS,
    CallTool,
    ChunkEvaluation,
    EvaluateChunk,
    Generate,
    ProgramAnswer,
    ReadRows,
    Rows,
    RunProgram,
    TraceRows,
)
from dspex_core.requests._outline import ProgramOutline

__all__ = [
    "CALL_TOOL",
    "EVALUATE_CHUNK",
    "GENERATE",
    "READ_ROWS",
    "RUN_PROGRAM",
    "TRACE_ROWS",
    "CallTool",
    "ChunkEvaluation",
    "EvaluateChunk",
    "Generate",
    "ProgramAnswer",
    "ProgramOutline",
    "ReadRows",
    "Rows",
    "RunProgram",
    "TraceRows",
]
