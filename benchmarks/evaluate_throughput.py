"""Rows a second of an evaluation over HTTP, against a provider that takes 50 ms and has a process of its own."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks._bench import Bench, Result
from benchmarks._measure import Measure
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "evaluate_throughput"
_ROWS = 2000
_IN_FLIGHT = 64
_LATENCY_MS = 50.0
_IDEAL = _IN_FLIGHT / (_LATENCY_MS / 1000)
"""Rows a second if nothing but the latency took time."""


def measure(bench: Bench) -> Iterator[Measure]:
    """Without a cache and with an empty one; first the provider's own ceiling, met by bare aiohttp calls."""
    sides: dict[str, tuple[Callable[..., Result], str, dict[str, Any]]] = {
        "ceiling": (bench.ours, "bare_calls", {}),
        "ours off": (bench.ours, "evaluate", {"cache": False}),
        "dspy off": (bench.dspy, "evaluate", {"cache": False}),
        "ours cold": (bench.ours, "evaluate", {"cache": True}),
        "dspy cold": (bench.dspy, "evaluate", {"cache": True}),
    }
    found: dict[str, list[Result]] = {name: [] for name in sides}
    with FakeProviderProcess(latency_ms=_LATENCY_MS) as provider:
        for _ in range(bench.repeats):
            for name, (run, program, options) in sides.items():
                provider.reset()
                given = {"rows": _ROWS, "in_flight": _IN_FLIGHT, "api_base": provider.base_url}
                found[name].append(run(program, **given, **options))
                _check(name, provider.stats().requests)
    ceiling = _rates(found["ceiling"])
    yield Measure(ROW, f"bare aiohttp calls: {_share(ceiling):.0%} of the ideal", "calls/s", "higher", ceiling)
    for what, key in (("cache off", "off"), ("cache on, cold", "cold")):
        ours, dspy = _rates(found[f"ours {key}"]), _rates(found[f"dspy {key}"])
        shares = f"{_share(ours):.0%} and {_share(dspy):.0%} of the ideal"
        yield Measure(ROW, f"{what}: {shares}", "rows/s", "higher", ours, dspy)
        cpu = (_cpu_ms(found[f"{side} {key}"]) for side in ("ours", "dspy"))
        yield Measure(ROW, f"{what}: CPU", "ms/row", "lower", *cpu)


def _rates(results: list[Result]) -> tuple[float, ...]:
    return tuple(_ROWS / result["seconds"] for result in results)


def _cpu_ms(results: list[Result]) -> tuple[float, ...]:
    return tuple(result["cpu_seconds"] / _ROWS * 1000 for result in results)


def _share(rates: tuple[float, ...]) -> float:
    return median(rates) / _IDEAL


def _check(name: str, requests: int) -> None:
    warm_up = 0 if name == "ceiling" else 1
    if requests != _ROWS + warm_up:
        raise RuntimeError(f"{name}: {requests} requests for {_ROWS} rows; the sides are not comparable")
