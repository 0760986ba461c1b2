"""What an event costs that nobody listens to: CPU time of telling of it, in this process."""

from collections.abc import Iterator

from benchmarks._bench import Bench
from benchmarks._measure import Measure

ROW = "unheard_events"


def measure(bench: Bench) -> Iterator[Measure]:
    """CPU time of each kind of place that tells of something, with no subscriber."""
    found = [bench.ours("unheard_events") for _ in range(bench.repeats)]
    for name, what in (
        ("call", "a call of a module, model, tool or search"),
        ("rows", "a row evaluated"),
        ("phase", "a phase begun"),
        ("proposed", "a candidate proposed, of 16 demos"),
        ("evaluated", "a candidate evaluated"),
    ):
        yield Measure(ROW, what, "us CPU", "lower", tuple(result[name] for result in found))
