"""`python -m benchmarks.disturbances [OPTIMIZER …]`: what a lost host and an outage change in durable runs: nothing.

Each optimizer first compiles in one process, undisturbed. Then it compiles durably, and meets one disturbance after
the other: its worker is killed; its host is lost (killed, and the next worker has an empty cache); the provider is out.
What it found must be the same each time: candidates, their order and scores, and the winner.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from dspex import Client
from dspex.devserver import dev_server
from dspex.worker import WorkerProcess
from dspex_core import LM, using
from dspex_core.home import home
from dspex_core.optimizers import OPTIMIZERS, BootstrapFinetune, LabeledFewShot, Optimizer
from dspex_core.testing import FakeProviderProcess, Trajectory, conformance_program, conformance_rows

_SMALL = {
    "better_together": {"p": LabeledFewShot(k=4), "w": BootstrapFinetune(poll_seconds=0.05)},
    "bootstrap_few_shot_with_random_search": {"num_candidate_programs": 3},
    "bootstrap_finetune": {"poll_seconds": 0.05},
    "copro": {"breadth": 3, "depth": 2},
    "gepa": {"max_metric_calls": 200},
    "infer_rules": {"num_candidates": 2},
    "mipro_v2": {
        "auto": None,
        "num_candidates": 4,
        "num_trials": 6,
        "minibatch_size": 8,
        "minibatch_full_eval_steps": 3,
    },
    "simba": {"bsize": 8, "num_candidates": 3, "max_steps": 2},
}
_IN_FLIGHT = 4
_LATENCY_MS = 20.0
_TRAIN, _VAL = conformance_rows(40), conformance_rows(40, start=40)


@dataclass
class Stage:
    """What all runs share: a server, a worker, a provider."""

    client: Client
    worker: WorkerProcess
    provider: FakeProviderProcess
    scratch: Path
    outage_seconds: float
    hosts: int = 1

    def lm(self) -> LM:
        return LM("openai/fake", api_base=self.provider.base_url, concurrency=_IN_FLIGHT)

    async def requests(self) -> int:
        return (await asyncio.to_thread(self.provider.stats)).requests

    async def kill(self) -> None:
        """Kill the worker; the next one is of the same host."""
        before = self.worker.pid
        self.worker.kill()
        while self.worker.pid == before:
            await asyncio.sleep(0.02)

    async def lose_host(self) -> None:
        """Kill the worker; the next one is of another host, which knows no answers."""
        self.hosts += 1
        os.environ["DSPEX_HOME"] = str(self.scratch / f"host-{self.hosts}")
        await self.kill()

    async def outage(self) -> None:
        """Let no request be answered for a while."""
        self.provider.change(outage="unavailable")
        await asyncio.sleep(self.outage_seconds)
        self.provider.change(outage=None)


async def main() -> int:
    """Run all that was asked for and print a line each; 1 if anything was changed by a disturbance."""
    options = _parser().parse_args()
    server_home = home()
    with tempfile.TemporaryDirectory(prefix="dspex-disturbed-") as folder, FakeProviderProcess() as provider:
        scratch = Path(folder)
        os.environ |= {
            "DSPEX_HOME": str(scratch / "host-1"),
            "DSPEX_ARTIFACTS": (scratch / "artifacts").as_uri(),
            "DSPEX_TASK_QUEUE": f"disturbed-{os.getpid()}",
            "OPENAI_API_KEY": "none-needed",
        }
        async with (
            dev_server(_say, state_dir=scratch / "server", binary_home=server_home) as server,
            WorkerProcess(server) as worker,
            await Client.connect(server) as client,
        ):
            stage = Stage(client, worker, provider, scratch, options.outage_seconds)
            changed = [name for name in options.optimizers or OPTIMIZERS if not await _unchanged(stage, name)]
    print(f"changed by a disturbance: {', '.join(changed) or 'none'}")
    return 1 if changed else 0


async def _unchanged(stage: Stage, name: str) -> bool:
    optimizer = OPTIMIZERS[name](metric="exact_match", seed=3, **_SMALL.get(name, {}))
    stage.provider.change(latency_ms=0.0)
    stage.provider.reset()
    await stage.lose_host()
    with using(lm=stage.lm()):
        result = await optimizer.compile(conformance_program(), trainset=_TRAIN, valset=_VAL)
    here, calls = Trajectory.of(result), await stage.requests()
    stage.provider.change(latency_ms=_LATENCY_MS)
    same = True
    for what, at, disturb in (
        ("killed at 50 %", 0.5, stage.kill),
        ("host lost at 90 %", 0.9, stage.lose_host),
        (f"outage of {stage.outage_seconds:g} s at 50 %", 0.5, stage.outage),
    ):
        begun = time.perf_counter()
        there = await _disturbed(stage, optimizer, int(calls * at), disturb)
        more = await stage.requests() - calls
        same = same and there == here
        seconds = time.perf_counter() - begun
        print(
            f"{name:40} {what:24} {'same' if there == here else 'CHANGED':8} {calls:5} calls {more:+5} {seconds:6.1f} s"
        )
        sys.stdout.flush()
    return same


async def _disturbed(stage: Stage, optimizer: Optimizer, at: int, disturb: Callable[[], Awaitable[None]]) -> Trajectory:
    # A host of its own for each run: it would find the answers of the one before.
    await stage.lose_host()
    stage.provider.reset()
    run = await stage.client.compile(
        conformance_program(), optimizer=optimizer, trainset=_TRAIN, valset=_VAL, lm=stage.lm()
    )
    while await stage.requests() < at:
        await asyncio.sleep(0.02)
    await disturb()
    return Trajectory.of(await run.result())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.disturbances", description=__doc__)
    parser.add_argument(
        "optimizers", nargs="*", metavar="OPTIMIZER", type=_known, help=f"by default all: {', '.join(OPTIMIZERS)}"
    )
    parser.add_argument("--outage-seconds", type=float, default=20.0, metavar="SECONDS", help="how long it is out")
    return parser


def _known(name: str) -> str:
    if name not in OPTIMIZERS:
        raise argparse.ArgumentTypeError(f"there is no {name!r}; there are {', '.join(OPTIMIZERS)}")
    return name


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
