import math
from collections.abc import Collection
from typing import Any, cast

from dspex_core.errors import ConfigurationError, MetricError, UnknownNameError
from dspex_core.metrics._text import contains, exact_match, f1
from dspex_core.record import Prediction
from dspex_core.references import CodeReference, import_code, reference_to
from dspex_core.seam import Metric, MetricLike, Score

METRICS: dict[str, Metric] = {"contains": contains, "exact_match": exact_match, "f1": f1}
"""Built-in metrics by name."""


def resolve_metric(metric: MetricLike | CodeReference, *, trust: Collection[str] | None = None) -> Metric:
    """The metric function for a function, a name or a reference.

    Args:
        metric: A function, a built-in metric's name, "package.module:function", or a reference.
        trust: Packages that may be imported from; None trusts all.

    Raises:
        UnknownNameError: If no built-in metric has that name.
        ProgramError, TrustError: If the reference cannot or may not be imported.
        ConfigurationError: If it is something that cannot be called.
    """
    if isinstance(metric, str):
        if metric in METRICS:
            return METRICS[metric]
        if ":" not in metric:
            raise UnknownNameError("metric", metric, METRICS)
        metric = CodeReference(path=metric)
    if isinstance(metric, CodeReference):
        if metric.path in METRICS:
            return METRICS[metric.path]
        return _function(import_code(metric, trust=trust, what="metric"), metric.path)
    return _function(metric, f"{metric!r:.80}")


def metric_reference(metric: MetricLike) -> CodeReference:
    """How a worker finds a metric: the name of a built-in one, or where to import it from.

    Raises:
        UnknownNameError: If no built-in metric has that name.
        ProgramError: If the function cannot be imported by another process.
        ConfigurationError: If it is something that cannot be called.
    """
    for name, built_in in METRICS.items():
        if metric is built_in:
            return CodeReference(path=name)
    if isinstance(metric, str) and ":" not in metric:
        resolve_metric(metric)
        return CodeReference(path=metric)
    if not isinstance(metric, str):
        _function(metric, f"{metric!r:.80}")
    reference = reference_to(metric, what="metric")
    _function(import_code(reference, trust=None, what="metric"), reference.path)
    return reference


def _function(found: Any, named: str) -> Metric:
    if not callable(found):
        kind = type(found).__name__
        article = "an" if kind[0].lower() in "aeiou" else "a"
        raise ConfigurationError(
            f"metric {named} is {article} {kind}, not a function of an example, a prediction and a trace"
        )
    return cast("Metric", found)


def is_built_in(metric: Metric) -> bool:
    """Whether a metric is one of ours, and so known to be quick and to block nothing."""
    return any(metric is built_in for built_in in METRICS.values())


def score_of(verdict: Any, metric: Metric) -> Score:
    """A metric's return value as a Score.

    Raises:
        MetricError: If it is no bool, number or Score, or is NaN or infinite. A Prediction with a `score`, and perhaps
            a `feedback`, stands for a Score, as in DSPy.
    """
    if isinstance(verdict, Prediction) and isinstance(verdict.get("score"), (bool, int, float)):
        verdict = Score(value=float(verdict["score"]), feedback=str(verdict.get("feedback") or ""))
    score = verdict if isinstance(verdict, Score) else None
    if isinstance(verdict, (bool, int, float)):
        score = Score(value=float(verdict))
    if score is None or not math.isfinite(score.value):
        name = getattr(metric, "__name__", str(metric))
        raise MetricError(f"metric {name} returned {verdict!r}; it must return a bool, a finite number or a Score")
    return score
