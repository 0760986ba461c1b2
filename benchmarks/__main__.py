"""`python -m benchmarks [ROW …]`: our numbers beside DSPy's, measured in the same run."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import (
    cache_hit,
    durable_overhead,
    durable_rows,
    evaluate_faults,
    evaluate_memory,
    evaluate_processes,
    evaluate_throughput,
    import_cost,
    optimizers,
    predict_call,
    unheard_events,
    watching,
)
from benchmarks._bench import Bench
from benchmarks._measure import Measure
from benchmarks._table import table

_Row = Callable[[Bench], Iterator[Measure]]
ROWS: dict[str, _Row] = {
    room.ROW: room.measure
    for room in (
        import_cost,
        predict_call,
        cache_hit,
        evaluate_throughput,
        evaluate_processes,
        evaluate_faults,
        evaluate_memory,
        durable_overhead,
        durable_rows,
        optimizers,
        unheard_events,
        watching,
    )
}


def main() -> int:
    """Measure, print the table on stdout; 0, or 1 if a row could not be measured."""
    options = _parser().parse_args()
    measures: list[Measure] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="dspex-bench-", ignore_cleanup_errors=True) as scratch:
        bench = Bench(options.repeats, Path(scratch), _say)
        for name in options.rows or ROWS:
            start = time.perf_counter()
            try:
                measures += ROWS[name](bench)
            except (OSError, RuntimeError, ValueError) as error:
                failed.append(name)
                _say(f"{name} could not be measured: {error}")
            _say(f"{name}: {time.perf_counter() - start:.0f} s")
    print(f"{_machine()['about']}; DSPy {version('dspy')}; medians of {options.repeats} interleaved repeats\n")
    print(table(measures))
    if options.json is not None:
        found = [each.to_json() for each in measures]
        content = {**_machine(), "dspy": version("dspy"), "repeats": options.repeats, "failed": failed, "rows": found}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", type=_row, help=f"which ones; by default all: {', '.join(ROWS)}"
    )
    parser.add_argument(
        "--repeats",
        type=_at_least_one,
        default=3,
        metavar="N",
        help="how often each side is measured, in turns",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample there")
    return parser


def _row(name: str) -> str:
    if name not in ROWS:
        raise argparse.ArgumentTypeError(f"there is no {name!r}; there are {', '.join(ROWS)}")
    return name


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _machine() -> dict[str, Any]:
    about = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return {"about": about, "load": os.getloadavg()[0]}


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
