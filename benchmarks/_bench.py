"""What every row is given: fresh folders, and a way to run one side in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_NOT_INHERITED = ("DSPEX_", "DSPY_", "TEMPORAL_", "OPENAI_", "PYTHON")
_LONGEST_SECONDS = 300.0

Result = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """One run of the benchmarks.

    Attributes:
        repeats: How often everything is measured; the sides take turns.
        scratch: A folder that is removed afterwards.
        say: Told, in one line each, what is done.
    """

    repeats: int
    scratch: Path
    say: Callable[[str], None]

    def ours(self, program: str, **given: Any) -> Result:
        """Run `benchmarks.with_dspex.PROGRAM` in a fresh process and home; give the numbers that it prints."""
        return self._run(f"benchmarks.with_dspex.{program}", given)

    def dspy(self, program: str, **given: Any) -> Result:
        """Run `benchmarks.with_dspy.PROGRAM` likewise."""
        return self._run(f"benchmarks.with_dspy.{program}", given)

    def ours_at_once(self, program: str, given: Sequence[Mapping[str, Any]]) -> list[Result]:
        """Run ours in several processes that share a home. Each begins to measure when all are ready.

        A program that takes part calls `_child.all_ready` and reports `began_at` and `ended_at`, of one clock.
        """
        meeting = tempfile.mkdtemp(dir=self.scratch)
        environment = self.environment() | {"BENCH_MEETING": meeting, "BENCH_PROCESSES": str(len(given))}
        module = f"benchmarks.with_dspex.{program}"
        with ThreadPoolExecutor(len(given)) as threads:
            runs = [threads.submit(self._run, module, options, environment) for options in given]
            return [run.result() for run in runs]

    def environment(self) -> dict[str, str]:
        """The environment without anyone's settings, and with new empty homes and caches for both sides."""
        home = tempfile.mkdtemp(dir=self.scratch)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        return kept | {
            "DSPEX_HOME": f"{home}/dspex",
            "DSPY_CACHEDIR": f"{home}/dspy",
            "OPENAI_API_KEY": "unused",
            "PYTHONWARNINGS": "ignore",
        }

    def _run(self, module: str, given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", module, json.dumps(given)],
            cwd=_ROOT,
            env=environment or self.environment(),
            capture_output=True,
            text=True,
            timeout=_LONGEST_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{module} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.splitlines()[-1])
