"""The other end of `Bench.ours` and `Bench.dspy`: arguments in, numbers out. Needs the standard library only."""

import json
import sys
from typing import Any


def given() -> dict[str, Any]:
    """The arguments."""
    return json.loads(sys.argv[1])


def report(**numbers: float) -> None:
    """Hand the numbers back."""
    sys.stdout.write(json.dumps(numbers) + "\n")
