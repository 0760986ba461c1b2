import inspect

from dspex_core.seam import Metric

_ARGUMENTS = 5


def judges_parts(metric: Metric) -> bool:
    """Whether a metric can say what to make of one predictor's part in a run, as DSPy's metrics for GEPA do.

    Such a metric takes five arguments: `metric(example, prediction, trace, pred_name, pred_trace)`. The last two are
    None while a run is scored.
    """
    try:
        parameters = inspect.signature(metric).parameters.values()
    except (TypeError, ValueError):
        return False
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(placed) >= _ARGUMENTS
