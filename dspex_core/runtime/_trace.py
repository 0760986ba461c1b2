import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pydantic_core import to_jsonable_python

from dspex_core.errors import MetricError
from dspex_core.evaluate import FAILURES_KEPT, apply_metric, describe, is_outage
from dspex_core.metrics import judges_parts
from dspex_core.modules import Module, Predict
from dspex_core.record import Example
from dspex_core.seam import (
    Metric,
    RowTrace,
    Score,
    TraceRequest,
    TraceResult,
    TraceStep,
    metered,
    recorded_trace,
    rolled_out,
)
from dspex_core.usage import Usage


async def trace_row(
    program: Module, row: int, example: Example, *, rollout: int, metric: Metric | None, request: TraceRequest
) -> RowTrace:
    """Run one row and keep the steps as demos; see `TraceRequest.keep` for what is kept, and how it is run.

    The rollout is the program's: a metric that asks a model judges every sample alike.

    Raises:
        LMError: If a model could not be reached.
        MetricError: If the metric raised or returned no score.
    """
    keep_all = request.keep == "all"
    student = program if keep_all else _without_demo(program, example)
    names = {id(predictor): name for name, predictor in student.named_predictors().items()}
    score: Score | None = None
    feedback: dict[str, str] = {}
    with metered() as meter, recorded_trace() as steps:
        try:
            with rolled_out(rollout):
                prediction = await student(**example.inputs())
            if metric is not None:
                score = await apply_metric(metric, example, prediction, row=row, trace=None if keep_all else steps)
            if metric is not None and keep_all and judges_parts(metric):
                for name, part in _parts(names, steps).items():
                    judged = await apply_metric(metric, example, prediction, row=row, trace=steps, part=(name, part))
                    feedback[name] = judged.feedback
        except (Exception, SystemExit) as error:
            if is_outage(error) or isinstance(error, MetricError):
                raise
            seen = _demos(names, steps) if keep_all else {}
            failed = 0.0 if metric is not None else None
            return RowTrace(
                row=row, accepted=False, demos=seen, score=failed, failure=describe(error), usage=meter.usage
            )
    return RowTrace(
        row=row,
        accepted=_is_accepted(score, request.threshold),
        demos=_demos(names, steps),
        score=None if score is None else score.value,
        feedback="" if score is None else score.feedback,
        feedback_by_predictor=feedback,
        outputs=to_jsonable_python(prediction.to_dict(), fallback=str) if keep_all else {},
        usage=meter.usage,
    )


def _is_accepted(score: Score | None, threshold: float | None) -> bool:
    if score is None:
        return True
    return score.value >= threshold if threshold is not None else bool(score.value)


async def trace_rows(
    attempt: Callable[[int, Example, int], Awaitable[RowTrace]],
    rows: Sequence[tuple[int, Example]],
    request: TraceRequest,
) -> TraceResult:
    """Try rows in order until enough were accepted, as many at once as are still wanted.

    A row is begun as soon as it is sure to be needed: if fewer would be accepted than are wanted, even if all that are
    under way were. So one that is slow holds up no other, and none is tried in vain.

    Args:
        attempt: Runs one row, given its index, its example and the number of the try.
        rows: The rows with their indices.
        request: How many are wanted, and how often each is tried.
    """
    keep_all = request.keep == "all"
    wanted = len(rows) if request.wanted is None or keep_all else request.wanted
    tries: list[asyncio.Task[tuple[RowTrace, int]]] = []
    under_way: set[asyncio.Task[tuple[RowTrace, int]]] = set()
    accepted, broken = 0, False
    try:
        while under_way or (not broken and accepted < wanted and len(tries) < len(rows)):
            room = 0 if broken else wanted - accepted - len(under_way)
            waiting = rows[len(tries) : len(tries) + room]
            begun = [asyncio.create_task(_try_row(attempt, *row, request=request)) for row in waiting]
            tries += begun
            # All are awaited even if one fails, so that answers under way are kept.
            done, under_way = await asyncio.wait(under_way.union(begun), return_when=asyncio.FIRST_COMPLETED)
            failed = [each for each in done if each.cancelled() or each.exception() is not None]
            broken = broken or bool(failed)
            accepted += 0 if broken else sum(each.result()[0].accepted for each in done)
    except asyncio.CancelledError:
        for each in tries:
            each.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
        raise
    return _result([each.result() for each in tries], keep_all=keep_all)


async def _try_row(
    attempt: Callable[[int, Example, int], Awaitable[RowTrace]], row: int, example: Example, *, request: TraceRequest
) -> tuple[RowTrace, int]:
    """The first try that is accepted, or the last, and how many it took; its usage is that of all tries."""
    trace, tries = await attempt(row, example, request.rollout), 1
    while tries < request.rounds and not trace.accepted:
        usage = trace.usage
        trace = await attempt(row, example, request.rollout + tries)
        trace = trace.model_copy(update={"usage": usage + trace.usage})
        tries += 1
    return trace, tries


def _result(tries: Sequence[tuple[RowTrace, int]], *, keep_all: bool) -> TraceResult:
    traces = [trace for trace, _ in tries]
    failures = [f"row {trace.row}: {trace.failure}" for trace in traces if trace.failure is not None]
    return TraceResult(
        accepted=tuple(trace for trace in traces if trace.accepted),
        rejected=tuple(trace for trace in traces if keep_all and not trace.accepted),
        tried=len(traces),
        runs=sum(runs for _, runs in tries),
        failures=tuple(failures[:FAILURES_KEPT]),
        usage=sum((trace.usage for trace in traces), start=Usage()),
    )


def _without_demo(program: Module, example: Example) -> Module:
    """The program without this very row among its demos: an answer copied from it would prove nothing."""
    state = program.get_state()
    row = to_jsonable_python(example.to_dict(), fallback=str)
    demos = {
        name: tuple(demo for demo in predictor.demos if demo != row) for name, predictor in state.predictors.items()
    }
    return program.with_state(state.with_demos(demos))


def _parts(names: dict[int, str], steps: list[TraceStep]) -> dict[str, list[TraceStep]]:
    """The steps of every predictor, by its name."""
    parts: dict[str, list[TraceStep]] = {}
    for step in steps:
        if isinstance(step[0], Predict) and id(step[0]) in names:
            parts.setdefault(names[id(step[0])], []).append(step)
    return parts


def _demos(names: dict[int, str], steps: list[TraceStep]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [to_jsonable_python({**inputs, **outputs}, fallback=str) for _, inputs, outputs in part]
        for name, part in _parts(names, steps).items()
    }
