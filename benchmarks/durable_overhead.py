"""What durability costs: one BootstrapFewShot compile in this process, and as a Temporal workflow with one worker."""

from collections.abc import Iterator
from typing import Any

from benchmarks._bench import Bench, Result
from benchmarks._measure import Measure
from dspex_core.home import home
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "durable_overhead"
_SIZE = {"train": 400, "dev": 200}
_IN_FLIGHT = 64
_LATENCY_MS = 50.0


def measure(bench: Bench) -> Iterator[Measure]:
    """Wall time of both, and of DSPy's BootstrapFewShot with an evaluation before and one after."""
    in_process: list[Result] = []
    durable: list[Result] = []
    dspy: list[Result] = []
    with FakeProviderProcess(latency_ms=_LATENCY_MS) as provider:
        given: dict[str, Any] = {**_SIZE, "api_base": provider.base_url}
        for _ in range(bench.repeats):
            in_process.append(bench.ours("compile_in_process", **given))
            durable.append(bench.ours("compile_durable", **given, binary_home=str(home())))
            dspy.append(bench.dspy("compile", **given, in_flight=_IN_FLIGHT))
    if (here := _each(in_process, "score")) != _each(durable, "score"):
        raise RuntimeError(f"the durable runs found {_each(durable, 'score')} % where in process it is {here} %")
    theirs = _each(dspy, "seconds")
    yield Measure(ROW, "compile in process", "s", "lower", _each(in_process, "seconds"), theirs)
    yield Measure(ROW, "compile durable", "s", "lower", _each(durable, "seconds"), theirs)
    pairs = zip(durable, in_process, strict=True)
    ratios = tuple(run["seconds"] / here["seconds"] for run, here in pairs)
    yield Measure(ROW, "durable / in process", "ratio", "lower", ratios)
    yield Measure(ROW, "score after, of the 200", "%", "higher", _each(in_process, "score"), _each(dspy, "score"))
    yield Measure(ROW, "server and worker up (not counted above)", "s", "lower", _each(durable, "up_seconds"))


def _each(results: list[Result], name: str) -> tuple[float, ...]:
    return tuple(result[name] for result in results)
