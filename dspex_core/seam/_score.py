from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dspex_core.errors import MetricError
from dspex_core.invalid import first_problem


class Score(BaseModel):
    """A metric's verdict with words for it.

        def right_team(example, prediction, trace=None):
            right = prediction.team == example.team
            return Score(float(right), "" if right else f"it belongs to {example.team}")

    Attributes:
        value: 0.0 (useless) to 1.0 (perfect).
        feedback: What was good or wrong, for optimizers that read it.

    Raises:
        MetricError: If the value is no number, or the feedback no text.
    """

    model_config = ConfigDict(frozen=True)

    value: float
    feedback: str = ""

    def __init__(self, value: float, feedback: str = "", **others: Any) -> None:
        try:
            super().__init__(value=value, feedback=feedback, **others)
        except ValidationError as error:
            where, what = first_problem(error)
            raise MetricError(f"Score({where}=…): {what}") from None


Metric = Callable[..., bool | float | Score | Awaitable[bool | float | Score]]
"""`metric(example, prediction, trace=None)`, sync or async; `trace` is given while demos are bootstrapped.

One that takes `pred_name` and `pred_trace` besides is also asked about single predictors, by an optimizer that reads
feedback.
"""

MetricLike = Metric | str
"""A metric, the name of a built-in one, or an import path `package.module:function`."""

TraceStep = tuple[Any, dict[str, Any], dict[str, Any]]
"""One predictor's part in a program run: the predictor, its inputs and its outputs."""
