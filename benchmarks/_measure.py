from dataclasses import dataclass
from statistics import median
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
    """

    row: str
    what: str
    unit: str
    better: Literal["lower", "higher"]
    ours: tuple[float, ...]
    dspy: tuple[float, ...] = ()

    @property
    def times_better(self) -> float | None:
        """How many times better our median is than DSPy's; below 1, DSPy's is better."""
        if not self.dspy:
            return None
        ours, dspy = median(self.ours), median(self.dspy)
        better, worse = (ours, dspy) if self.better == "lower" else (dspy, ours)
        return worse / better if better > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Medians, ratio and every sample."""
        return {
            "row": self.row,
            "what": self.what,
            "unit": self.unit,
            "better": self.better,
            "ours": median(self.ours),
            "dspy": median(self.dspy) if self.dspy else None,
            "times_better": self.times_better,
            "ours_samples": list(self.ours),
            "dspy_samples": list(self.dspy),
        }
