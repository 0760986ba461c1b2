"""Evaluation: run a program on rows, many at a time, and score it."""

from dspex_core.evaluate._evaluate import Evaluate, EvaluationResult
from dspex_core.evaluate._rows import (
    FAILURES_KEPT,
    Callee,
    RowResult,
    apply_metric,
    describe,
    evaluate_row,
    evaluate_rows,
    in_order_of,
    is_outage,
    summary_of,
)

__all__ = [
    "FAILURES_KEPT",
    "Callee",
    "Evaluate",
    "EvaluationResult",
    "RowResult",
    "apply_metric",
    "describe",
    "evaluate_row",
    "evaluate_rows",
    "in_order_of",
    "is_outage",
    "summary_of",
]
