"""Metrics: how good a prediction is."""

from dspex_core.metrics._majority import majority
from dspex_core.metrics._parts import judges_parts
from dspex_core.metrics._resolve import METRICS, is_built_in, metric_reference, resolve_metric, score_of
from dspex_core.metrics._text import contains, exact_match, f1

__all__ = [
    "METRICS",
    "contains",
    "exact_match",
    "f1",
    "is_built_in",
    "judges_parts",
    "majority",
    "metric_reference",
    "resolve_metric",
    "score_of",
]
