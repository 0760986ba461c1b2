"""What optimizers find, and what they take to find it: the same real data, the same model, five draws of the rows.

How each run of an optimizer compares with DSPy's depends on luck, so a difference of scores is told with its 95 %
interval, over the pairs of runs on the same rows.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from benchmarks._bench import Bench, Result
from benchmarks._measure import Measure
from dspex.demo import AREAS, stdlib_descriptions
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "optimizers"
_SEEDS = range(5)
_IN_FLIGHT = 16
_LATENCY_MS = 50.0
_FAULTS: dict[str, Any] = {"fault_rate": 0.05, "fault_kinds": "429,500", "retry_after_seconds": 1.0}
_MIPRO = "mipro_v2"
_STANDARD_ERRORS = 1.96

_Side = Callable[..., Result]


def measure(bench: Bench) -> Iterator[Measure]:
    """Score on rows never seen, requests and time of a compile on 400 rows with 200 to score on.

    DSPy's bootstrap and random search know no seed and draw as ours do with seed 0; MIPROv2's seed is the number of the
    draw. BootstrapFewShot gets no rows to score on, since DSPy's has no use for any.
    """
    data = [_written(bench, seed) for seed in _SEEDS]
    for name, title in (
        ("bootstrap_few_shot", "BootstrapFewShot"),
        ("bootstrap_few_shot_with_random_search", "random search"),
    ):
        ours, dspy = _side_by_side(bench, name, data)
        yield from _found(title, ours, dspy)
    ours, dspy = _in_turns(bench, data)
    yield from _found("MIPROv2", ours, dspy)
    seconds = _each(ours, "seconds"), _each(dspy, "seconds")
    yield Measure(ROW, "MIPROv2: wall time", "s", "lower", *seconds, summary="mean")
    yield _under_faults(bench, data[0], seconds[0][0], seconds[1][0])
    for name, title in (("bootstrap_few_shot", "BootstrapFewShot"), (_MIPRO, "MIPROv2")):
        ours, dspy = _side_by_side(bench, name, data, steps=2)
        yield from _found(f"a dspy.Module of two predictors, {title}", ours, dspy)


def _written(bench: Bench, seed: int) -> str:
    """The path of a draw of the rows: real descriptions, and the part of the library that each is of."""
    drawn = stdlib_descriptions(train=400, dev=200, test=400, seed=seed)
    path = bench.scratch / f"descriptions-{seed}.json"
    content = {
        "instructions": "Say which part of Python's standard library a description belongs to.",
        "input": "description",
        "output": "area",
        "labels": list(AREAS),
        "train": drawn.train,
        "val": drawn.dev,
        "test": drawn.test,
    }
    path.write_text(json.dumps(content))
    return str(path)


def _side_by_side(bench: Bench, name: str, data: list[str], *, steps: int = 1) -> tuple[list[Result], list[Result]]:
    """Runs of which the time is of no interest: as many at once as there are cores."""
    parts = ["train", None if name == "bootstrap_few_shot" else "val", "test"]

    def run(side: _Side, seed: int) -> Result:
        with FakeProviderProcess() as provider:
            return side("optimize", **_given(name, 0, data[seed], provider) | {"parts": parts, "steps": steps})

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ours = [pool.submit(run, bench.ours, seed) for seed in _SEEDS]
        dspy = [pool.submit(run, bench.dspy, seed) for seed in _SEEDS]
        return [each.result() for each in ours], [each.result() for each in dspy]


def _in_turns(bench: Bench, data: list[str]) -> tuple[list[Result], list[Result]]:
    ours: list[Result] = []
    dspy: list[Result] = []
    with FakeProviderProcess(latency_ms=_LATENCY_MS) as provider:
        for seed in _SEEDS:
            given = _given(_MIPRO, seed, data[seed], provider)
            ours.append(bench.ours("optimize", **given))
            dspy.append(bench.dspy("optimize", **given))
    return ours, dspy


def _under_faults(bench: Bench, data: str, ours_clean: float, dspy_clean: float) -> Measure:
    with FakeProviderProcess(latency_ms=_LATENCY_MS, **_FAULTS) as provider:
        given = _given(_MIPRO, 0, data, provider) | {"parts": ["train", "val", None]}
        ours = bench.ours("optimize", **given)["seconds"] / ours_clean
        dspy = bench.dspy("optimize", **given)["seconds"] / dspy_clean
    return Measure(ROW, "MIPROv2: with 5 % 429/500 / without", "ratio", "lower", (ours,), (dspy,))


def _given(name: str, seed: int, data: str, provider: FakeProviderProcess) -> dict[str, Any]:
    return {
        "optimizer": name,
        "seed": seed,
        "data": data,
        "parts": ["train", "val", "test"],
        "api_base": provider.base_url,
        "in_flight": _IN_FLIGHT,
        "steps": 1,
    }


def _found(title: str, ours: list[Result], dspy: list[Result]) -> Iterator[Measure]:
    scores = _each(ours, "score"), _each(dspy, "score")
    gains = [mine - theirs for mine, theirs in zip(*scores, strict=True)]
    margin = _STANDARD_ERRORS * stdev(gains) / sqrt(len(gains))
    what = f"{title}: test score ({fmean(gains):+.1f} ± {margin:.1f})"
    yield Measure(ROW, what, "%", "higher", *scores, summary="mean")
    requests = _each(ours, "requests"), _each(dspy, "requests")
    yield Measure(ROW, f"{title}: requests", "requests", "lower", *requests, summary="mean")


def _each(results: list[Result], name: str) -> tuple[float, ...]:
    return tuple(result[name] for result in results)
