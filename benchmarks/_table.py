from collections.abc import Sequence

from benchmarks._measure import Measure

_HEADER = ("row", "what", "unit", "DSPEx", "DSPy", "DSPEx is")
_ALIKE = 1.05
"""Ratios up to this are noise on a machine that does other things too."""


def table(measures: Sequence[Measure]) -> str:
    """Medians or means side by side, as plain aligned text."""
    lines = [_HEADER, *(_cells(measure) for measure in measures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    return "\n".join(_aligned(line, widths) for line in [lines[0], tuple("-" * width for width in widths), *lines[1:]])


def _cells(measure: Measure) -> tuple[str, ...]:
    ours, dspy = (_number(measure, samples) for samples in (measure.ours, measure.dspy))
    return measure.row, measure.what, measure.unit, ours, dspy, _verdict(measure.times_better)


def _verdict(times_better: float | None) -> str:
    if times_better is None:
        return ""
    if 1 / _ALIKE <= times_better <= _ALIKE:
        return "alike"
    return f"{times_better:.3g}x better" if times_better > 1 else f"{1 / times_better:.3g}x worse"


def _number(measure: Measure, samples: tuple[float, ...]) -> str:
    if not samples:
        return "-"
    shown = measure.of(samples)
    return f"{shown:,.0f}" if abs(shown) >= 100 else f"{shown:.3g}"


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    texts, numbers = line[:3], line[3:]
    cells = [f"{text:<{width}}" for text, width in zip(texts, widths[:3], strict=True)]
    cells += [f"{text:>{width}}" for text, width in zip(numbers, widths[3:], strict=True)]
    return "  ".join(cells).rstrip()
