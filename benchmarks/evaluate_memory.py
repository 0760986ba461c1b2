"""Memory that an evaluation takes when its rows come from a file: it must not grow with the file."""

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks._bench import Bench
from benchmarks._measure import Measure
from benchmarks._tickets import tickets

ROW = "evaluate_memory"
_ROWS = (1_000, 100_000)


def measure(bench: Bench) -> Iterator[Measure]:
    """Peak memory for a short and a long file, and how much more the long one takes."""
    peaks: dict[int, list[float]] = {rows: [] for rows in _ROWS}
    for _ in range(bench.repeats):
        for rows, found in peaks.items():
            found.append(bench.ours("evaluate_memory", path=str(_written(bench.scratch, rows)))["peak_mib"])
    for rows, found in peaks.items():
        yield Measure(ROW, f"{rows:,} rows from a file: peak", "MiB", "lower", tuple(found))
    few, many = (peaks[rows] for rows in _ROWS)
    more = tuple(after - before for before, after in zip(few, many, strict=True))
    yield Measure(ROW, f"{_ROWS[1]:,} rows over {_ROWS[0]:,}", "MiB", "lower", more)


def _written(folder: Path, rows: int) -> Path:
    path = folder / f"{rows}.jsonl"
    if not path.exists():
        lines = (json.dumps({"message": message, "team": team}) for message, team in tickets(rows))
        path.write_text("\n".join(lines))
    return path
