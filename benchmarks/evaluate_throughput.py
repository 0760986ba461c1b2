"""Rows a second of an evaluation over HTTP, against a provider that takes 50 ms and has a process of its own."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks._bench import Bench, Result
from benchmarks._measure import Measure
from benchmarks._tickets import SCRIPT
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "evaluate_throughput"
_IN_FLIGHT = 64
_LATENCY_MS = 50.0
_IDEAL = _IN_FLIGHT / (_LATENCY_MS / 1000)
"""Rows a second if nothing but the latency took time."""


@dataclass
class _Case:
    """One kind of evaluation, its samples, and those of the same requests sent by bare aiohttp: what the provider,
    which shares the machine's cores, can do at all.
    """

    what: str
    rows: int
    demos: int
    cache: bool
    bare: list[Result] = field(default_factory=list[Result])
    ours: list[Result] = field(default_factory=list[Result])
    dspy: list[Result] = field(default_factory=list[Result])

    def sample(self, bench: Bench, provider: FakeProviderProcess) -> None:
        given = {"rows": self.rows, "demos": self.demos, "in_flight": _IN_FLIGHT, "api_base": provider.base_url}
        if not self.cache:
            self.bare.append(bench.ours("bare_calls", **given))
        for run, samples in ((bench.ours, self.ours), (bench.dspy, self.dspy)):
            provider.reset()
            samples.append(run("evaluate", cache=self.cache, **given))
            # One more for the call that warms up.
            if (requests := provider.stats().requests) != self.rows + 1:
                raise RuntimeError(f"{self.what}: {requests} requests for {self.rows} rows; no fair comparison")

    def measures(self) -> Iterator[Measure]:
        ours, dspy = (_rates(samples, self.rows) for samples in (self.ours, self.dspy))
        if self.bare:
            bare = _rates(self.bare, self.rows)
            yield Measure(ROW, f"{self.what}: bare aiohttp", "calls/s", "higher", bare)
            yield Measure(ROW, f"{self.what}: bare aiohttp of ideal", "%", "higher", _shares(bare))
        yield Measure(ROW, self.what, "rows/s", "higher", ours, dspy)
        yield Measure(ROW, f"{self.what}: of ideal", "%", "higher", _shares(ours), _shares(dspy))
        cpu = (_each(samples, "cpu_seconds", 1000 / self.rows) for samples in (self.ours, self.dspy))
        yield Measure(ROW, f"{self.what}: CPU", "ms/row", "lower", *cpu)
        if self.cache:
            again = (_rates(samples, self.rows, "again_seconds") for samples in (self.ours, self.dspy))
            yield Measure(ROW, "again, all from the cache", "rows/s", "higher", *again)


def measure(bench: Bench) -> Iterator[Measure]:
    """Without a cache, with an empty one, and with the 16 demos that a compiled program has."""
    cases = [
        _Case("no demos, no cache", rows=2000, demos=0, cache=False),
        _Case("no demos, cold cache", rows=2000, demos=0, cache=True),
        _Case("16 demos, no cache", rows=1000, demos=16, cache=False),
    ]
    with FakeProviderProcess(latency_ms=_LATENCY_MS, script=SCRIPT) as provider:
        for _ in range(bench.repeats):
            for case in cases:
                case.sample(bench, provider)
    for case in cases:
        yield from case.measures()


def _each(results: list[Result], name: str, factor: float = 1.0) -> tuple[float, ...]:
    return tuple(result[name] * factor for result in results)


def _rates(results: list[Result], rows: int, name: str = "seconds") -> tuple[float, ...]:
    return tuple(rows / result[name] for result in results)


def _shares(rates: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(rate / _IDEAL * 100 for rate in rates)
