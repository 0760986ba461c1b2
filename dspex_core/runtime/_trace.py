from typing import Any

from pydantic_core import to_jsonable_python

from dspex_core.errors import MetricError
from dspex_core.evaluate import apply_metric, describe, is_outage
from dspex_core.modules import Module, Predict
from dspex_core.record import Example
from dspex_core.seam import Metric, RowTrace, Runtime, TraceStep, metered, recorded_trace, scoped_runtime


async def trace_row(
    runtime: Runtime, program: Module, row: int, example: Example, *, metric: Metric | None, threshold: float | None
) -> RowTrace:
    """Run one training row and keep the steps as demos, with the row itself left out of the program's demos.

    The program runs on the runtime given, the metric on the one in force.

    Raises:
        LMError: If a model could not be reached.
        MetricError: If the metric raised or returned no score.
    """
    student = _without_demo(program, example)
    names = {id(predictor): name for name, predictor in student.named_predictors().items()}
    with metered() as meter, recorded_trace() as steps:
        try:
            with scoped_runtime(runtime):
                prediction = await student(**example.inputs())
            accepted = True
            if metric is not None:
                score = (await apply_metric(metric, example, prediction, row=row, trace=steps)).value
                accepted = score >= threshold if threshold is not None else bool(score)
        except Exception as error:
            if is_outage(error) or isinstance(error, MetricError):
                raise
            return RowTrace(row=row, accepted=False, demos={}, failure=describe(error), usage=meter.usage)
    return RowTrace(row=row, accepted=accepted, demos=_demos(names, steps), usage=meter.usage)


def _without_demo(program: Module, example: Example) -> Module:
    """The program without this very row among its demos: an answer copied from it would prove nothing."""
    state = program.get_state()
    row = to_jsonable_python(example.to_dict(), fallback=str)
    demos = {
        name: tuple(demo for demo in predictor.demos if demo != row) for name, predictor in state.predictors.items()
    }
    return program.with_state(state.with_demos(demos))


def _demos(names: dict[int, str], steps: list[TraceStep]) -> dict[str, list[dict[str, Any]]]:
    demos: dict[str, list[dict[str, Any]]] = {}
    for predictor, inputs, outputs in steps:
        if isinstance(predictor, Predict) and id(predictor) in names:
            demo = to_jsonable_python({**inputs, **outputs}, fallback=str)
            demos.setdefault(names[id(predictor)], []).append(demo)
    return demos
