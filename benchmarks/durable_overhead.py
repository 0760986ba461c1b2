"""What durability costs: compiles in this process, and the same as Temporal workflows with one worker."""

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
_SLOW_LATENCY_MS = 300.0
_FEW_IN_FLIGHT = 16
_SLOW = {
    "bootstrap_few_shot": "BootstrapFewShot",
    "bootstrap_few_shot_with_random_search": "random search",
    "mipro_v2": "MIPROv2",
}


def measure(bench: Bench) -> Iterator[Measure]:
    """Wall time of both, and of DSPy's BootstrapFewShot with an evaluation before and one after."""
    in_process: list[Result] = []
    durable: list[Result] = []
    dspy: list[Result] = []
    with FakeProviderProcess(latency_ms=_LATENCY_MS) as provider:
        given: dict[str, Any] = {**_SIZE, "api_base": provider.base_url}
        for _ in range(bench.repeats):
            here, there = _in_turns(bench, given, "bootstrap_few_shot", _IN_FLIGHT)
            in_process.append(here)
            durable.append(there)
            dspy.append(bench.dspy("compile", **given, in_flight=_IN_FLIGHT))
    theirs = _each(dspy, "seconds")
    yield Measure(ROW, "compile in process", "s", "lower", _each(in_process, "seconds"), theirs)
    yield Measure(ROW, "compile durable", "s", "lower", _each(durable, "seconds"), theirs)
    pairs = zip(durable, in_process, strict=True)
    ratios = tuple(run["seconds"] / here["seconds"] for run, here in pairs)
    yield Measure(ROW, "durable / in process", "ratio", "lower", ratios)
    with FakeProviderProcess(latency_ms=_SLOW_LATENCY_MS) as provider:
        given = {**_SIZE, "api_base": provider.base_url}
        for name, title in _SLOW.items():
            here, there = _in_turns(bench, given, name, _FEW_IN_FLIGHT)
            ratio = there["seconds"] / here["seconds"]
            yield Measure(ROW, f"{title}, 300 ms, 16 in flight: durable / in process", "ratio", "lower", (ratio,))
    yield Measure(ROW, "score after, of the 200", "%", "higher", _each(in_process, "score"), _each(dspy, "score"))
    yield Measure(ROW, "server and worker up (not counted above)", "s", "lower", _each(durable, "up_seconds"))


def _in_turns(bench: Bench, given: dict[str, Any], optimizer: str, in_flight: int) -> tuple[Result, Result]:
    """A compile in process, and the same as a durable run."""
    options: dict[str, Any] = {**given, "optimizer": optimizer, "in_flight": in_flight}
    here = bench.ours("compile_in_process", **options)
    there = bench.ours("compile_durable", **options, binary_home=str(home()))
    if here["score"] != there["score"]:
        raise RuntimeError(f"{optimizer} found {there['score']} % in a durable run, and {here['score']} % in process")
    return here, there


def _each(results: list[Result], name: str) -> tuple[float, ...]:
    return tuple(result[name] for result in results)
