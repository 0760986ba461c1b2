"""The other end of `Bench.ours` and `Bench.dspy`: arguments in, numbers out. Needs the standard library only."""

import json
import resource
import sys
from pathlib import Path
from typing import Any


def given() -> dict[str, Any]:
    """The arguments."""
    return json.loads(sys.argv[1])


def report(**numbers: float) -> None:
    """Hand the numbers back."""
    sys.stdout.write(json.dumps(numbers) + "\n")


def peak_mib() -> float:
    """Most memory that this process has held."""
    status = Path("/proc/self/status")
    # What getrusage tells a child includes its parent's memory before exec, so it is the second choice.
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
