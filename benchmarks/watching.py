"""What watching costs a durable run: wall time, and CPU time of its server and worker, watched in several ways."""

from collections.abc import Iterator
from typing import Any

from benchmarks._bench import Bench, Result
from benchmarks._measure import Measure
from dspex_core.home import home
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "watching"
_ALONE = "nobody"
_WATCHED: dict[str, dict[str, int]] = {
    _ALONE: {"watchers": 0, "pages": 0},
    "1 watcher": {"watchers": 1, "pages": 0},
    "20 watchers": {"watchers": 20, "pages": 0},
    "1 page": {"watchers": 0, "pages": 1},
    "20 pages": {"watchers": 0, "pages": 20},
}
_LATENCY_MS = 400.0


def measure(bench: Bench) -> Iterator[Measure]:
    """CPU time and wall time of one search; on a machine that does other things too, CPU time says more.

    A page is one of the dashboard's, read over HTTP and its socket by a process that draws nothing.
    """
    found: dict[str, list[Result]] = {who: [] for who in _WATCHED}
    with FakeProviderProcess(latency_ms=_LATENCY_MS) as provider:
        given: dict[str, Any] = {"api_base": provider.base_url, "binary_home": str(home())}
        for _ in range(bench.repeats):
            for who, watched in _WATCHED.items():
                found[who].append(bench.ours("watched_compile", **given, **watched))
    alone = found.pop(_ALONE)
    fastest = min(each["seconds"] for each in alone)
    yield Measure(ROW, "run that nobody watches", "s", "lower", tuple(each["seconds"] for each in alone))
    yield Measure(ROW, "its server and worker", "s CPU", "lower", tuple(each["cpu_seconds"] for each in alone))
    for who, results in found.items():
        pairs = list(zip(results, alone, strict=True))
        # What else the machine does delays some of the runs by more than watching does: the fastest ones tell most.
        longer = 100 * (min(each["seconds"] for each in results) / fastest - 1)
        yield Measure(ROW, f"wall time that {who} add, fastest run beside fastest run", "%", "lower", (longer,))
        shares = tuple(
            100 * (each["cpu_seconds"] - run["cpu_seconds"]) / (run["seconds"] * run["cores"]) for each, run in pairs
        )
        yield Measure(
            ROW, f"CPU of server and worker that {who} add, of all the run's time offers", "%", "lower", shares
        )
        if any(each["dashboard_seconds"] for each in results):
            serving = tuple(100 * each["dashboard_seconds"] / (each["seconds"] * each["cores"]) for each in results)
            yield Measure(ROW, f"CPU of the dashboard with {who}, of all the run's time offers", "%", "lower", serving)
