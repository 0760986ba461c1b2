"""`make chaos`: compiles whose parts are killed, ended and stopped at random, and which end as if undisturbed.

A round compiles with one optimizer in this process, undisturbed, and then durably, while two to four blows fall on the
worker, the server (a dev server, or PostgreSQL and the real Temporal server) and the provider. What must hold: the same
candidates, scores, order and winner; nothing is sent twice but what was in flight at a blow; a worker that is back is
at work again within ten seconds. The seed decides all but time.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from postgres_stack import UnavailableError, postgres_stack
from real_parts import API_KEY, USERS_HOME, in_environment

from dspex import Client
from dspex.devserver import dev_server
from dspex.worker import WorkerProcess
from dspex_core import LM, using
from dspex_core.optimizers import OPTIMIZERS, BootstrapFinetune, LabeledFewShot
from dspex_core.testing import FakeProviderProcess, Trajectory, conformance_program, conformance_rows

# Whatever the teacher gets right, there are rows enough to train on.
ON_ALL_RUNS = {"poll_seconds": 0.05, "metric_threshold": 0.0}
SMALL = {
    "better_together": {"p": LabeledFewShot(k=4), "w": BootstrapFinetune(**ON_ALL_RUNS)},
    "bootstrap_finetune": ON_ALL_RUNS,
    "bootstrap_few_shot_with_random_search": {"num_candidate_programs": 2},
    "copro": {"breadth": 3, "depth": 2},
    "gepa": {"max_metric_calls": 120},
    "infer_rules": {"num_candidates": 2},
    "mipro_v2": {"auto": None, "num_candidates": 3, "num_trials": 4, "minibatch_size": 8},
    "simba": {"bsize": 8, "num_candidates": 3, "max_steps": 2},
}
TUNED = ("better_together", "bootstrap_finetune")
"""Those that need what a provider keeps: it may be stopped, and not lose its memory."""
DATA = {"trainset": conformance_rows(40), "valset": conformance_rows(20, start=40)}
IN_FLIGHT = 4
LATENCY_MS = 30.0
MOST_RECOVERY_SECONDS = 10.0
SLOW = "slow to recover"
ROUND_SECONDS = 240.0
UNNOTICED, NOTICED = 1.5, 9.0
"""Seconds that a worker is stopped for: less than its heartbeat timeout, and more."""


@dataclass(frozen=True)
class Blow:
    """What falls on which part, once that share of the calls was made."""

    at: float
    part: str
    how: str

    def __str__(self):
        return f"{self.how} {self.part} at {self.at:.0%}"


@dataclass
class Outcome:
    """What came of a round."""

    number: int
    optimizer: str
    servers: str
    blows: tuple[Blow, ...]
    calls: int = 0
    more: int = 0
    allowed: int = 0
    recovery_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self):
        slowest = f"{max(self.recovery_seconds):.1f} s" if self.recovery_seconds else "-"
        blows = ", ".join(map(str, self.blows))
        sent = f"{self.calls:4} calls {self.more:+3} of {self.allowed:2}"
        verdict = "; ".join(self.wrong).upper() or "same"
        return (
            f"{self.number:3} {self.optimizer:38} {self.servers:10} {sent} "
            f"back to work {slowest:6} {self.seconds:5.0f} s {verdict} ({blows})"
        )


class DevServer:
    """The dev server, kept up by its lease."""

    name = "dev server"

    def __init__(self, state_dir):
        self._state_dir = state_dir

    @asynccontextmanager
    async def running(self):
        async with dev_server(say, state_dir=self._state_dir, binary_home=USERS_HOME) as server:
            yield server

    async def kill(self, chance):
        signalled(self._pid, signal.SIGKILL)

    async def end(self, chance):
        signalled(self._pid, signal.SIGTERM)

    async def stop(self, chance):
        await stopped([self._pid], chance.uniform(1, 4))

    @property
    def _pid(self):
        return json.loads((self._state_dir / "server.json").read_text())["pid"]


class Postgres:
    """PostgreSQL and the real Temporal server."""

    name = "PostgreSQL"

    @asynccontextmanager
    async def running(self):
        stack = postgres_stack()
        self._stack = await asyncio.to_thread(stack.__enter__)
        try:
            yield self._stack.server
        finally:
            await asyncio.to_thread(stack.__exit__, None, None, None)

    async def kill(self, chance):
        await asyncio.to_thread(self._kill, chance.choice(("temporal", "postgres", "both")))

    end = kill

    async def stop(self, chance):
        await stopped([self._stack._temporal.pid], chance.uniform(1, 4))

    def _kill(self, which):
        if which != "temporal":
            self._stack.kill_postgres()
        if which != "postgres":
            self._stack.kill_temporal()
        if which != "temporal":
            self._stack.start_postgres()
        if which != "postgres":
            self._stack.start_temporal()


class Provider:
    """The provider, whose counts outlive it."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._process = FakeProviderProcess(port=port)
        self._before = 0

    def __enter__(self):
        self._process.start()
        self.base_url = self._process.base_url
        return self

    def __exit__(self, *exception):
        self._process.stop()

    async def requests(self):
        return self._before + (await asyncio.to_thread(self._process.stats)).requests

    def begin(self, *, latency_ms):
        self._before = 0
        self._process.reset()
        self._process.change(latency_ms=latency_ms)

    async def kill(self, chance):
        self._before = await self.requests()
        self._process.kill()
        await asyncio.sleep(chance.uniform(0.2, 2))
        await asyncio.to_thread(self._process.start)
        self._process.change(latency_ms=LATENCY_MS)

    async def stop(self, chance):
        await stopped([self._process._process.pid], chance.uniform(1, 3))


class Workers:
    """One worker or two, each started again when it ends."""

    def __init__(self, server, count):
        self._server, self._count = server, count
        self._ready = 0
        self._processes = []

    @asynccontextmanager
    async def running(self):
        async with AsyncExitStack() as stack:
            for _ in range(self._count):
                process = WorkerProcess(self._server, say=self._hear)
                self._processes.append(await stack.enter_async_context(process))
            yield self

    def _hear(self, line):
        if line.startswith("worker ready"):
            self._ready += 1
        elif "cannot be used" in line:
            say(line)

    async def kill(self, chance):
        await self._ended(chance, signal.SIGKILL)

    async def end(self, chance):
        await self._ended(chance, signal.SIGTERM)

    async def stop(self, chance):
        await stopped([chance.choice(self._processes).pid], chance.choice((UNNOTICED, NOTICED)))

    async def _ended(self, chance, number):
        before = self._ready
        os.kill(chance.choice(self._processes).pid, number)
        while self._ready == before:
            await asyncio.sleep(0.02)


async def stopped(pids, seconds):
    """Let processes stand still for a while."""
    for pid in pids:
        signalled(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        for pid in pids:
            signalled(pid, signal.SIGCONT)


def signalled(pid, number):
    """Signal a process, unless another round, which shares the server, has ended it meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def planned(seed, number, servers):
    """The round's optimizer, workers and blows."""
    chance = random.Random(f"{seed}/{number}")
    # Every optimizer has its turn, in another order for another seed.
    order = sorted(OPTIMIZERS, key=lambda name: random.Random(f"{seed}/{name}").random())
    name = order[number % len(order)]
    hows = {"worker": ("kill", "end", "stop"), "server": ("kill", "end", "stop"), "provider": ("kill", "stop")}
    blows = []
    for _ in range(chance.randint(2, 4)):
        part = chance.choice(("worker", "worker", "server", "provider"))
        how = chance.choice(hows[part])
        if part == "provider" and name in TUNED:
            how = "stop"
        blows.append(Blow(round(chance.uniform(0.03, 0.9), 2), part, how))
    blows.sort(key=lambda blow: blow.at)
    return Outcome(number, name, servers, tuple(blows)), chance.choice((1, 1, 2)), chance


class Rounds:
    """Rounds over one provider and one set of servers after the other."""

    def __init__(self, seed, scratch, provider):
        self._seed, self._scratch, self._provider = seed, scratch, provider

    async def run(self, numbers, servers):
        """Run these rounds on these servers, and give what came of each."""
        with in_environment(self._variables(servers)):
            async with servers.running() as server:
                for number in numbers:
                    with in_environment(
                        {
                            "TEMPORAL_ADDRESS": server.address,
                            "TEMPORAL_NAMESPACE": server.namespace,
                            "DSPEX_TASK_QUEUE": f"chaos-{os.getpid()}-{number}",
                        }
                    ):
                        yield await self._round(number, servers, server)

    def _variables(self, servers):
        return {
            "DSPEX_HOME": str(self._scratch / "host"),
            "DSPEX_ARTIFACTS": (self._scratch / "artifacts").as_uri(),
            "OPENAI_API_KEY": API_KEY,
            "TEMPORAL_CONFIG_FILE": str(self._scratch / "no-profiles.toml"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }

    async def _round(self, number, servers, server):
        outcome, count, chance = planned(self._seed, number, servers.name)
        begun = time.monotonic()
        optimizer = OPTIMIZERS[outcome.optimizer](metric="exact_match", seed=number, **SMALL.get(outcome.optimizer, {}))
        self._provider.begin(latency_ms=0)
        # Models that differ share no answers, so each round makes all of its calls.
        lm = LM("openai/fake", api_base=self._provider.base_url, concurrency=IN_FLIGHT, max_tokens=1000 + number)
        try:
            with in_environment({"DSPEX_HOME": str(self._scratch / f"undisturbed-{number}")}), using(lm=lm):
                here = await optimizer.compile(conformance_program(), **DATA)
            outcome.calls = await self._provider.requests()
            self._provider.begin(latency_ms=LATENCY_MS)
            async with (
                asyncio.timeout(ROUND_SECONDS),
                Workers(server, count).running() as workers,
                await Client.connect(server) as client,
            ):
                parts = {"worker": workers, "server": servers, "provider": self._provider}
                run = await client.compile(
                    conformance_program(), optimizer=optimizer, lm=lm, id=f"chaos-{os.getpid()}-{number}", **DATA
                )
                result = asyncio.create_task(run.result())
                for blow in outcome.blows:
                    await self._until(int(blow.at * outcome.calls), result)
                    if result.done():
                        break
                    await getattr(parts[blow.part], blow.how)(chance)
                    if blow.part != "server" and (blow.part, blow.how) != ("worker", "end"):
                        outcome.allowed += IN_FLIGHT
                    if blow.part == "worker" and count == 1:
                        outcome.recovery_seconds.append(await self._back_at_work(result))
                there = await result
        except TimeoutError:
            outcome.wrong.append(f"not done after {ROUND_SECONDS:g} s")
        except Exception as error:  # noqa: BLE001 - this round failed, whatever of, and the others go on
            outcome.wrong.append(f"{type(error).__name__}: {error}")
        else:
            self._judge(outcome, Trajectory.of(here) == Trajectory.of(there), await self._provider.requests())
        outcome.seconds = time.monotonic() - begun
        return outcome

    async def _until(self, requests, result):
        while not result.done() and await self._provider.requests() < requests:
            await asyncio.sleep(0.02)

    async def _back_at_work(self, result):
        """Seconds until the provider hears of the worker that has come back."""
        begun = time.monotonic()
        await self._until(await self._provider.requests() + 1, result)
        return time.monotonic() - begun

    def _judge(self, outcome, is_same, requests):
        outcome.more = requests - outcome.calls
        if not is_same:
            outcome.wrong.append("changed")
        if outcome.more > outcome.allowed:
            outcome.wrong.append("sent twice")
        if any(seconds > MOST_RECOVERY_SECONDS for seconds in outcome.recovery_seconds):
            outcome.wrong.append(SLOW)


async def rounds(seed, numbers, scratch):
    """Run rounds; every third is on PostgreSQL, if this machine has it."""
    with Provider() as provider:
        here = Rounds(seed, scratch, provider)
        on_postgres = [number for number in numbers if number % 3 == 2]
        async for outcome in here.run([n for n in numbers if n not in on_postgres], DevServer(scratch / "server")):
            yield outcome
        try:
            async for outcome in here.run(on_postgres, Postgres()) if on_postgres else nothing():
                yield outcome
        except UnavailableError as missing:
            say(f"{len(on_postgres)} rounds on PostgreSQL are left out: {missing}")


async def nothing():
    """No rounds."""
    for outcome in ():
        yield outcome


def say(line):
    """What goes on, beside the results."""
    sys.stderr.write(f"{line}\n")


async def main():
    """Run what was asked for; 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the rounds to run, from 0 on")
    options = parser.parse_args()
    numbers = range(options.rounds) if options.only is None else options.only
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="dspex-chaos-", ignore_cleanup_errors=True) as folder:
        async for outcome in rounds(options.seed, numbers, Path(folder)):
            sys.stdout.write(f"{outcome}\n")
            sys.stdout.flush()
            wrong += bool(outcome.wrong)
    verdict = f"{wrong} not as they must be" if wrong else "all as undisturbed"
    sys.stdout.write(f"{len(numbers)} rounds of seed {options.seed}: {verdict}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
