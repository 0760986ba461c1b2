"""What watching costs a durable run: CPU time of its server and worker, watched by nobody, by one and by twenty."""

from collections.abc import Iterator
from typing import Any

from benchmarks._bench import Bench, Result
from benchmarks._measure import Measure
from dspex_core.home import home
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "watching"
_WATCHERS = (0, 1, 20)
_LATENCY_MS = 400.0


def measure(bench: Bench) -> Iterator[Measure]:
    """CPU time and wall time of one search; on a machine that does other things too, CPU time says more."""
    found: dict[int, list[Result]] = {count: [] for count in _WATCHERS}
    with FakeProviderProcess(latency_ms=_LATENCY_MS) as provider:
        given: dict[str, Any] = {"api_base": provider.base_url, "binary_home": str(home())}
        for _ in range(bench.repeats):
            for count in _WATCHERS:
                found[count].append(bench.ours("watched_compile", **given, watchers=count))
    alone = found[0]
    yield Measure(ROW, "run that nobody watches", "s", "lower", tuple(each["seconds"] for each in alone))
    yield Measure(ROW, "its server and worker", "s CPU", "lower", tuple(each["cpu_seconds"] for each in alone))
    for count in _WATCHERS[1:]:
        who = "1 watcher" if count == 1 else f"{count} watchers"
        pairs = list(zip(found[count], alone, strict=True))
        ratios = tuple(watched["cpu_seconds"] / run["cpu_seconds"] for watched, run in pairs)
        yield Measure(ROW, f"CPU with {who} / with none", "ratio", "lower", ratios)
        shares = tuple(
            100 * (watched["cpu_seconds"] - run["cpu_seconds"]) / (run["seconds"] * run["cores"])
            for watched, run in pairs
        )
        yield Measure(ROW, f"CPU that {who} add, of what the run's time offers", "%", "lower", shares)
