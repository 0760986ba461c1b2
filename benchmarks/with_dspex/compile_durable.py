import asyncio
import sys
import time
from pathlib import Path

from benchmarks._child import given, report
from benchmarks.with_dspex._triage import MODEL, Triage, examples
from dspex import Client
from dspex.devserver import dev_server
from dspex.worker import WorkerProcess
from dspex_core import LM, Example, Module, Predict
from dspex_core.optimizers import BootstrapFewShot, CompileResult, Optimizer, optimizer_named


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


async def main() -> None:
    options = given()
    optimizer = optimizer_named(options["optimizer"]).from_options({"metric": "exact_match"})
    lm = LM(MODEL, api_base=options["api_base"], concurrency=options["in_flight"])
    start = time.perf_counter()
    async with (
        dev_server(say, binary_home=Path(options["binary_home"])) as server,
        WorkerProcess(server, say=say),
        await Client.connect(server) as client,
    ):
        up_seconds = time.perf_counter() - start

        async def compiled(optimizer: Optimizer, train: list[Example], dev: list[Example]) -> CompileResult[Module]:
            run = await client.compile(Predict(Triage), optimizer=optimizer, trainset=train, valset=dev, lm=lm)
            return await run.result()

        await compiled(BootstrapFewShot(metric="exact_match"), examples(8, first=9000), examples(4, first=9500))
        train, dev = examples(options["train"]), examples(options["dev"], first=options["train"])
        start = time.perf_counter()
        result = await compiled(optimizer, train, dev)
        seconds = time.perf_counter() - start
    report(
        up_seconds=up_seconds,
        seconds=seconds,
        baseline=result.baseline_score or 0.0,
        score=result.score or 0.0,
        lm_calls=result.usage.lm_calls,
    )


if __name__ == "__main__":
    asyncio.run(main())
