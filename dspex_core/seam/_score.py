from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict


class Score(BaseModel):
    """A metric's verdict with words for it.

        def right_team(example, prediction, trace=None):
            right = prediction.team == example.team
            return Score(value=float(right), feedback="" if right else f"it belongs to {example.team}")

    Attributes:
        value: 0.0 (useless) to 1.0 (perfect).
        feedback: What was good or wrong, for optimizers that read it.
    """

    model_config = ConfigDict(frozen=True)

    value: float
    feedback: str = ""


Metric = Callable[..., bool | float | Score | Awaitable[bool | float | Score]]
"""`metric(example, prediction, trace=None)`, sync or async; `trace` is given while demos are bootstrapped.

One that takes `pred_name` and `pred_trace` besides is also asked about single predictors, by an optimizer that reads
feedback.
"""

MetricLike = Metric | str
"""A metric, the name of a built-in one, or an import path `package.module:function`."""

TraceStep = tuple[Any, dict[str, Any], dict[str, Any]]
"""One predictor's part in a program run: the predictor, its inputs and its outputs."""
