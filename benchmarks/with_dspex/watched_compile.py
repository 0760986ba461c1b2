import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks._child import given, report
from benchmarks.with_dspex._pages import read_pages
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


def cpu_seconds(*, of: set[int] | None = None, but: frozenset[int] = frozenset()) -> float:
    """CPU time so far of these processes, or of all that share this one's home: the server, the worker and theirs."""
    proc = Path("/proc")
    if not proc.exists():
        raise RuntimeError("CPU time of other processes is read from /proc, which there is not")
    mine = f"DSPEX_HOME={os.environ['DSPEX_HOME']}".encode()
    ticks = 0
    for folder in proc.iterdir():
        if folder.name.isdecimal() and int(folder.name) not in but and (of is None or int(folder.name) in of):
            try:
                if mine in (folder / "environ").read_bytes().split(b"\0"):
                    fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                    ticks += int(fields[11]) + int(fields[12])
            except OSError:
                continue  # another user's, or it has just ended
    return ticks / os.sysconf("SC_CLK_TCK")


async def watch(options: dict[str, Any]) -> None:
    """What the process of those who watch does."""
    if "dashboard" in options:
        await read_pages(options["dashboard"], RUN_ID, options["pages"])
        return

    async def one() -> None:
        async for _ in client.get_run(RUN_ID).events():
            pass

    async with await Client.connect() as client:
        await asyncio.gather(*(one() for _ in range(options["watchers"])))


@asynccontextmanager
async def dashboard(environment: dict[str, str]) -> AsyncGenerator[tuple[str, int]]:
    """A dashboard in a process of its own: its address, and its process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dspex", "dashboard", "--port", "0"), env=environment, stderr=asyncio.subprocess.PIPE
    )
    if process.stderr is None:
        raise RuntimeError("a pipe was asked for, and there is none")
    try:
        while not (line := (await process.stderr.readline()).decode()).startswith("dashboard"):
            if not line:
                raise RuntimeError("the dashboard ended before it said its address")
        yield line.split()[1], process.pid
    finally:
        process.terminate()
        await process.communicate()


async def main() -> None:
    options = given()
    if "api_base" not in options:
        await watch(options)
        return
    lm = LM(MODEL, api_base=options["api_base"], concurrency=16)
    train, dev = examples(60), examples(60, first=60)
    async with AsyncExitStack() as open_:
        server = await open_.enter_async_context(dev_server(say, binary_home=Path(options["binary_home"])))
        await open_.enter_async_context(WorkerProcess(server, say=say))
        client = await open_.enter_async_context(await Client.connect(server))
        environment = os.environ | {"TEMPORAL_ADDRESS": server.address, "TEMPORAL_NAMESPACE": server.namespace}
        warm = await client.compile(
            Predict(Triage), optimizer=OPTIMIZER, trainset=examples(8, first=900), valset=examples(4, first=950), lm=lm
        )
        await warm.result()
        asked, but, serving = {"watchers": options["watchers"]}, {os.getpid()}, set[int]()
        if options["pages"]:
            address, pid = await open_.enter_async_context(dashboard(environment))
            asked, serving = {"dashboard": address, "pages": options["pages"]}, {pid}
        run = await client.compile(
            Predict(Triage), optimizer=OPTIMIZER, trainset=train, valset=dev, lm=lm, id=RUN_ID, chunk_rows=4
        )
        began = time.perf_counter()
        watching = None
        if options["watchers"] or options["pages"]:
            command = (sys.executable, "-m", "benchmarks.with_dspex.watched_compile", json.dumps(asked))
            watching = await asyncio.create_subprocess_exec(*command, env=environment)
            but.add(watching.pid)
        others = frozenset(but | serving)
        before, served = cpu_seconds(but=others), cpu_seconds(of=serving)
        await run.result()
        seconds = time.perf_counter() - began
        spent, served = cpu_seconds(but=others) - before, cpu_seconds(of=serving) - served
        if watching is not None and await watching.wait():
            raise RuntimeError("who watched did not see the end")
    report(seconds=seconds, cpu_seconds=spent, dashboard_seconds=served, cores=float(os.cpu_count() or 1))


if __name__ == "__main__":
    asyncio.run(main())
