"""Requests that workflows make of activities, and the answers."""

from dspex_core.requests._activities import (
    EVALUATE_CHUNK,
    GENERATE,
    READ_ROWS,
    RUN_PROGRAM,
    TRACE_ROWS,
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
    "EVALUATE_CHUNK",
    "GENERATE",
    "READ_ROWS",
    "RUN_PROGRAM",
    "TRACE_ROWS",
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
