"""The other end of `Bench.ours` and `Bench.dspy`: arguments in, numbers out. Needs the standard library only."""

import json
import os
import resource
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


def given() -> dict[str, Any]:
    """The arguments."""
    return json.loads(sys.argv[1])


def report(**numbers: float) -> None:
    """Hand the numbers back."""
    sys.stdout.write(json.dumps(numbers) + "\n")


def all_ready(*, seconds: float = 60.0) -> None:
    """Wait until all processes of `Bench.ours_at_once` are here; nothing to wait for where one runs alone."""
    folder = os.environ.get("BENCH_MEETING")
    if not folder:
        return
    (Path(folder) / str(os.getpid())).touch()
    give_up_at = time.monotonic() + seconds
    while len(list(Path(folder).iterdir())) < int(os.environ["BENCH_PROCESSES"]):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"the other processes were not ready within {seconds:g} s")
        time.sleep(0.005)


def requests_made(api_base: str) -> int:
    """Requests that the fake provider at this address has met so far."""
    with urllib.request.urlopen(f"{api_base.removesuffix('/v1')}/stats") as answer:  # noqa: S310 - http, from our own process
        return json.load(answer)["requests"]


def peak_mib() -> float:
    """Most memory that this process has held."""
    status = Path("/proc/self/status")
    # What getrusage tells a child includes its parent's memory before exec, so it is the second choice.
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
