"""CPU of one Predict call whose answer is known: made once over HTTP before, and then found in the cache."""

from collections.abc import Iterator

from benchmarks._bench import Bench
from benchmarks._measure import Measure
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "cache_hit"
_CALLS = 500


def measure(bench: Bench) -> Iterator[Measure]:
    """With no demos and with 16; DSPy has the answers in memory, DSPEx on disk."""
    with FakeProviderProcess() as provider:
        for demos in (0, 16):
            given = {"calls": _CALLS, "demos": demos, "api_base": provider.base_url}
            ours: list[float] = []
            dspy: list[float] = []
            for _ in range(bench.repeats):
                ours.append(bench.ours("cache_hit", **given)["microseconds"])
                dspy.append(bench.dspy("cache_hit", **given)["microseconds"])
            yield Measure(ROW, f"{demos} demos", "CPU us/call", "lower", tuple(ours), tuple(dspy))
