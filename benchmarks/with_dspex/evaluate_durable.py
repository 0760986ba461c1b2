import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks._child import given, report
from benchmarks.with_dspex._triage import MODEL, Triage, examples
from dspex import Client
from dspex.devserver import dev_server
from dspex.worker import WorkerProcess
from dspex_core import LM, Predict


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process that still runs; 0 where nothing tells."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    options = given()
    lm = LM(MODEL, api_base=options["api_base"], cache=False, concurrency=options["in_flight"])
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(dev_server(say, binary_home=Path(options["binary_home"])))
        workers = [await stack.enter_async_context(WorkerProcess(server, say=say)) for _ in range(options["workers"])]
        client = await stack.enter_async_context(await Client.connect(server))

        async def evaluated(rows: int, first: int) -> float:
            done = await client.evaluate(Predict(Triage), examples(rows, first=first), metric="exact_match", lm=lm)
            return done.score

        # So that every worker has connections and imports, and knows of the others.
        await evaluated(320, 90_000)
        start, before = time.perf_counter(), sum(cpu_seconds(worker.pid) for worker in workers)
        score = await evaluated(options["rows"], 0)
        seconds = time.perf_counter() - start
        cpu = sum(cpu_seconds(worker.pid) for worker in workers) - before
    report(seconds=seconds, cpu_seconds=cpu, score=score)


if __name__ == "__main__":
    asyncio.run(main())
