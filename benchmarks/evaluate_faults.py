"""What 5 % of refusals and failures cost an evaluation: its time beside that of the same rows without any."""

from collections.abc import Iterator

from benchmarks._bench import Bench, Result
from benchmarks._measure import Measure
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "evaluate_faults"
_ROWS = 1000
_IN_FLIGHT = 16
_LATENCY_MS = 50.0
_RATE = 0.05
_RETRY_AFTER_SECONDS = 1.0


def measure(bench: Bench) -> Iterator[Measure]:
    """1,000 rows, 16 in flight: clean, and with 5 % of 429 and 500, of which the former ask to wait 1 s."""
    clean: list[list[Result]] = [[], []]
    faulty: list[list[Result]] = [[], []]
    faults = {"fault_rate": _RATE, "fault_kinds": "429,500", "retry_after_seconds": _RETRY_AFTER_SECONDS}
    with (
        FakeProviderProcess(latency_ms=_LATENCY_MS) as well,
        FakeProviderProcess(latency_ms=_LATENCY_MS, **faults) as ill,
    ):
        for _ in range(bench.repeats):
            for side, run in enumerate((bench.ours, bench.dspy)):
                for provider, samples in ((well, clean[side]), (ill, faulty[side])):
                    provider.reset()
                    given = {"rows": _ROWS, "demos": 0, "in_flight": _IN_FLIGHT, "cache": False}
                    samples.append(run("evaluate", api_base=provider.base_url, **given))
                    if (answered := provider.stats().answered) != _ROWS + 1:
                        raise RuntimeError(f"{answered} of {_ROWS + 1} requests were answered; no fair comparison")
    ours, dspy = (_ratios(faulty[side], clean[side]) for side in range(2))
    yield Measure(ROW, "5 % of 429/500, Retry-After 1 s, 16 in flight", "x the clean time", "lower", ours, dspy)


def _ratios(faulty: list[Result], clean: list[Result]) -> tuple[float, ...]:
    return tuple(ill["seconds"] / well["seconds"] for ill, well in zip(faulty, clean, strict=True))
