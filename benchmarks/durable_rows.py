"""What an evaluation of many rows costs as a workflow, and what a second worker gains."""

from collections.abc import Iterator
from typing import Any

from benchmarks._bench import Bench, Result
from benchmarks._measure import Measure
from dspex_core.home import home
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "durable_rows"
_MANY: dict[str, Any] = {"rows": 10_000, "in_flight": 64}
_SHARED: dict[str, Any] = {"rows": 960, "in_flight": 32}


def measure(bench: Bench) -> Iterator[Measure]:
    """10,000 rows at 50 ms in this process and with one worker; 960 rows at 300 ms with one worker and with two."""
    here: list[Result] = []
    durable: list[Result] = []
    one: list[Result] = []
    two: list[Result] = []
    durably: dict[str, Any] = {"binary_home": str(home())}
    with FakeProviderProcess(latency_ms=50) as quick, FakeProviderProcess(latency_ms=300) as slow:
        for _ in range(bench.repeats):
            many, shared = {**_MANY, "api_base": quick.base_url}, {**_SHARED, "api_base": slow.base_url}
            here.append(bench.ours("evaluate", **many, demos=0, cache=False))
            durable.append(bench.ours("evaluate_durable", **many, **durably, workers=1))
            one.append(bench.ours("evaluate_durable", **shared, **durably, workers=1))
            two.append(bench.ours("evaluate_durable", **shared, **durably, workers=2))
    if [run["score"] for run in here] != [run["score"] for run in durable]:
        raise RuntimeError("durable runs score otherwise than those in process; no fair comparison")
    rows = _MANY["rows"]
    yield Measure(ROW, "10,000 rows, 50 ms: in process", "rows/s", "higher", _rates(here, rows))
    yield Measure(ROW, "10,000 rows, 50 ms: durable", "rows/s", "higher", _rates(durable, rows))
    yield Measure(ROW, "durable / in process", "ratio", "higher", _ratios(here, durable))
    yield Measure(ROW, "CPU in process", "ms/row", "lower", tuple(run["cpu_seconds"] * 1000 / rows for run in here))
    yield Measure(ROW, "CPU of a worker", "ms/row", "lower", tuple(run["cpu_seconds"] * 1000 / rows for run in durable))
    yield Measure(ROW, "960 rows, 300 ms, 32 in flight a worker: one", "s", "lower", _seconds(one))
    yield Measure(ROW, "two workers", "s", "lower", _seconds(two))
    yield Measure(ROW, "two workers / one", "ratio", "lower", _ratios(two, one))


def _seconds(runs: list[Result]) -> tuple[float, ...]:
    return tuple(run["seconds"] for run in runs)


def _rates(runs: list[Result], rows: int) -> tuple[float, ...]:
    return tuple(rows / run["seconds"] for run in runs)


def _ratios(runs: list[Result], others: list[Result]) -> tuple[float, ...]:
    return tuple(run["seconds"] / other["seconds"] for run, other in zip(runs, others, strict=True))
