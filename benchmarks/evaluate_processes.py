"""Rows a second of two processes that share a cache, 256 calls in flight between them, beside bare aiohttp."""

from collections.abc import Iterator

from benchmarks._bench import Bench, Result
from benchmarks._measure import Measure
from benchmarks._tickets import SCRIPT
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "evaluate_processes"
_PROCESSES = 2
_ROWS_EACH = 2000
_IN_FLIGHT_EACH = 128
_LATENCY_MS = 50.0


def measure(bench: Bench) -> Iterator[Measure]:
    """Each process evaluates rows of its own, 128 in flight, as a worker does; the requests are also sent bare."""
    bare: list[float] = []
    without: list[float] = []
    cold: list[float] = []
    cpu: list[float] = []
    with FakeProviderProcess(latency_ms=_LATENCY_MS, script=SCRIPT) as provider:
        given = {"demos": 0, "rows": _ROWS_EACH, "in_flight": _IN_FLIGHT_EACH, "api_base": provider.base_url}
        parts = [given | {"first": _ROWS_EACH * number} for number in range(_PROCESSES)]
        for _ in range(bench.repeats):
            bare.append(_rate(bench.ours_at_once("bare_calls", parts)))
            done = bench.ours_at_once("evaluate", [part | {"cache": False} for part in parts])
            without.append(_rate(done))
            cpu.append(sum(result["cpu_seconds"] for result in done) * 1000 / (_ROWS_EACH * _PROCESSES))
            provider.reset()
            cold.append(_rate(bench.ours_at_once("evaluate", [part | {"cache": True} for part in parts])))
            # The call that warms up is the same in both, and sent once.
            if (requests := provider.stats().requests) != _ROWS_EACH * _PROCESSES + 1:
                raise RuntimeError(f"{requests} requests for {_ROWS_EACH * _PROCESSES} rows; no fair comparison")
    yield Measure(ROW, "two processes, 256 in flight: bare aiohttp", "calls/s", "higher", tuple(bare))
    yield Measure(ROW, "two processes, 256 in flight, no cache", "rows/s", "higher", tuple(without))
    yield Measure(ROW, "two processes, 256 in flight, cold cache", "rows/s", "higher", tuple(cold))
    yield Measure(
        ROW,
        "two processes, no cache: of bare aiohttp",
        "%",
        "higher",
        tuple(100 * a / b for a, b in zip(without, bare, strict=True)),
    )
    yield Measure(ROW, "two processes, no cache: CPU", "ms/row", "lower", tuple(cpu))


def _rate(done: list[Result]) -> float:
    """Rows a second from the common beginning to the last one's end."""
    start = min(result["began_at"] for result in done)
    return _ROWS_EACH * _PROCESSES / (max(result["ended_at"] for result in done) - start)
