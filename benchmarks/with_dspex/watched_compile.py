import asyncio
import json
import os
import sys
import time
from pathlib import Path

from benchmarks._child import given, report
from benchmarks.with_dspex._triage import MODEL, Triage, examples
from dspex import Client
from dspex.devserver import dev_server
from dspex.worker import WorkerProcess
from dspex_core import LM, Predict
from dspex_core.optimizers import BootstrapFewShotWithRandomSearch

OPTIMIZER = BootstrapFewShotWithRandomSearch(metric="exact_match", num_candidate_programs=6, racing=False, seed=0)
RUN_ID = "watched"


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


def cpu_seconds(*, but: set[int]) -> float:
    """CPU time so far of all processes that share this one's home: the server, the worker and what they started."""
    proc = Path("/proc")
    if not proc.exists():
        raise RuntimeError("CPU time of other processes is read from /proc, which there is not")
    mine = f"DSPEX_HOME={os.environ['DSPEX_HOME']}".encode()
    ticks = 0
    for folder in proc.iterdir():
        if folder.name.isdecimal() and int(folder.name) not in but:
            try:
                if mine in (folder / "environ").read_bytes().split(b"\0"):
                    fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                    ticks += int(fields[11]) + int(fields[12])
            except OSError:
                continue  # another user's, or it has just ended
    return ticks / os.sysconf("SC_CLK_TCK")


async def watch(client: Client, count: int) -> None:
    """What the process of the watchers does."""

    async def one() -> None:
        async for _ in client.get_run(RUN_ID).events():
            pass

    say("watching")
    await asyncio.gather(*(one() for _ in range(count)))


async def main() -> None:
    options = given()
    if "address" in options:
        async with await Client.connect() as client:
            await watch(client, options["watchers"])
        return
    lm = LM(MODEL, api_base=options["api_base"], concurrency=16)
    train, dev = examples(60), examples(60, first=60)
    async with (
        dev_server(say, binary_home=Path(options["binary_home"])) as server,
        WorkerProcess(server, say=say),
        await Client.connect(server) as client,
    ):
        warm = await client.compile(
            Predict(Triage), optimizer=OPTIMIZER, trainset=examples(8, first=900), valset=examples(4, first=950), lm=lm
        )
        await warm.result()
        run = await client.compile(
            Predict(Triage), optimizer=OPTIMIZER, trainset=train, valset=dev, lm=lm, id=RUN_ID, chunk_rows=4
        )
        began, but = time.perf_counter(), {os.getpid()}
        watchers = None
        if options["watchers"]:
            asked = json.dumps({"address": server.address, "watchers": options["watchers"]})
            watchers = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.with_dspex.watched_compile", asked),
                env=os.environ | {"TEMPORAL_ADDRESS": server.address, "TEMPORAL_NAMESPACE": server.namespace},
            )
            but.add(watchers.pid)
        before = cpu_seconds(but=but)
        await run.result()
        seconds, spent = time.perf_counter() - began, cpu_seconds(but=but) - before
        if watchers is not None and await watchers.wait():
            raise RuntimeError("the watchers did not see the end")
    report(seconds=seconds, cpu_seconds=spent, cores=float(os.cpu_count() or 1))


if __name__ == "__main__":
    asyncio.run(main())
