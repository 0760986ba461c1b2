"""What importing costs, over bare Python; and how long a fresh process takes to its first answer."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from benchmarks._bench import Bench
from benchmarks._measure import Measure
from dspex_core.testing.fake_provider import FakeProviderProcess

ROW = "import_cost"
_ROUNDS = 5
"""Rounds a repeat: these processes are short, and their times scatter."""

_CLOCKED = """
import time
start = time.perf_counter()
{statement}
print((time.perf_counter() - start) * 1000)
"""
_NAMES = "from dspex_core import Predict, Signature, LM, Evaluate"
# A process's own high-water mark; what getrusage tells a child includes its parent's memory before exec.
_PEAK = """
from pathlib import Path
status = Path("/proc/self/status")
if status.exists():
    print(next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024)
else:
    import resource, sys
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 ** 2 if sys.platform == "darwin" else 1024))
"""


def measure(bench: Bench) -> Iterator[Measure]:
    """Time and memory of `import dspex_core`, of its everyday names, and of `import dspy`."""
    package = _Imports(bench, "import dspex_core")
    names = _Imports(bench, _NAMES)
    theirs = _Imports(bench, "import dspy")
    for _ in range(bench.repeats * _ROUNDS):
        for imports in (package, names, theirs):
            imports.sample()
    for what, imports in (("import dspex_core", package), ("Predict, Signature, LM, Evaluate", names)):
        yield Measure(ROW, what, "ms over bare", "lower", imports.milliseconds, theirs.milliseconds)
        yield Measure(ROW, f"{what}: peak", "MiB", "lower", imports.peak_mib, theirs.peak_mib)
    yield _first_answer(bench)


class _Imports:
    """Samples of one import, each in a fresh process that clocks the statement alone, without Python's own start."""

    def __init__(self, bench: Bench, statement: str) -> None:
        self._command = [sys.executable, "-I", "-c", _CLOCKED.format(statement=statement) + _PEAK]
        self._environment = bench.environment()
        self._samples: list[tuple[float, float]] = []
        self._run()  # bytecode and caches are there from now on, as they are for users

    def sample(self) -> None:
        self._samples.append(self._run())

    @property
    def milliseconds(self) -> tuple[float, ...]:
        return tuple(milliseconds for milliseconds, _ in self._samples)

    @property
    def peak_mib(self) -> tuple[float, ...]:
        return tuple(peak for _, peak in self._samples)

    def _run(self) -> tuple[float, float]:
        done = subprocess.run(self._command, env=self._environment, capture_output=True, text=True, check=True)
        milliseconds, peak = done.stdout.split()
        return float(milliseconds), float(peak)


def _first_answer(bench: Bench) -> Measure:
    with FakeProviderProcess() as provider:

        def timed(side: Callable[..., object]) -> float:
            start = time.perf_counter()
            side("first_answer", api_base=provider.base_url)
            return (time.perf_counter() - start) * 1000

        pairs = [(timed(bench.ours), timed(bench.dspy)) for _ in range(bench.repeats)]
    ours, dspy = zip(*pairs, strict=True)
    return Measure(ROW, "fresh process to first answer", "ms", "lower", ours, dspy)
