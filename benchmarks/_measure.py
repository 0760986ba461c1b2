from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Literal


@dataclass(frozen=True)
class Measure:
    """One line of the table.

    Attributes:
        row: The benchmark it comes from.
        what: What was measured.
        unit: Its unit.
        better: Whether lower or higher is better.
        ours: One sample a repeat.
        dspy: The same of DSPy; empty where DSPy has nothing like it.
        summary: What of the samples is shown: their median or, where they are of different data, their mean.
    """

    row: str
    what: str
    unit: str
    better: Literal["lower", "higher"]
    ours: tuple[float, ...]
    dspy: tuple[float, ...] = ()
    summary: Literal["median", "mean"] = "median"

    def of(self, samples: tuple[float, ...]) -> float:
        """What is shown of some samples."""
        return median(samples) if self.summary == "median" else fmean(samples)

    @property
    def times_better(self) -> float | None:
        """How many times better ours is than DSPy's; below 1, DSPy's is better."""
        if not self.dspy:
            return None
        ours, dspy = self.of(self.ours), self.of(self.dspy)
        better, worse = (ours, dspy) if self.better == "lower" else (dspy, ours)
        return worse / better if better > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Medians or means, ratio and every sample."""
        return {
            "row": self.row,
            "what": self.what,
            "unit": self.unit,
            "better": self.better,
            "ours": self.of(self.ours),
            "dspy": self.of(self.dspy) if self.dspy else None,
            "times_better": self.times_better,
            "ours_samples": list(self.ours),
            "dspy_samples": list(self.dspy),
        }
