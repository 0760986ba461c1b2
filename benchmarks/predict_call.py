"""CPU that one Predict call takes by itself: prompt, parsing, books; the model answers at once."""

from collections.abc import Iterator

from benchmarks._bench import Bench
from benchmarks._measure import Measure

ROW = "predict_call"
_CALLS = 2000


def measure(bench: Bench) -> Iterator[Measure]:
    """With no demos and with 16."""
    for demos in (0, 16):
        ours: list[float] = []
        dspy: list[float] = []
        for _ in range(bench.repeats):
            ours.append(bench.ours("predict_call", calls=_CALLS, demos=demos)["microseconds"])
            dspy.append(bench.dspy("predict_call", calls=_CALLS, demos=demos)["microseconds"])
        yield Measure(ROW, f"{demos} demos", "CPU us/call", "lower", tuple(ours), tuple(dspy))
        yield Measure(ROW, f"{demos} demos", "calls/s a core", "higher", _rates(ours), _rates(dspy))


def _rates(microseconds: list[float]) -> tuple[float, ...]:
    return tuple(1_000_000 / each for each in microseconds)
