import asyncio
import time

from benchmarks._child import given, report
from benchmarks.with_dspex._triage import MODEL, Triage, examples
from dspex_core import LM, Predict, using
from dspex_core.optimizers import BootstrapFewShot, optimizer_named


async def main() -> None:
    options = given()
    optimizer = optimizer_named(options["optimizer"]).from_options({"metric": "exact_match"})
    with using(lm=LM(MODEL, api_base=options["api_base"], concurrency=options["in_flight"])):
        first = BootstrapFewShot(metric="exact_match")
        await first.compile(Predict(Triage), trainset=examples(8, first=9000), valset=examples(4, first=9500))
        train, dev = examples(options["train"]), examples(options["dev"], first=options["train"])
        start = time.perf_counter()
        result = await optimizer.compile(Predict(Triage), trainset=train, valset=dev)
        seconds = time.perf_counter() - start
    report(
        seconds=seconds,
        baseline=result.baseline_score or 0.0,
        score=result.score or 0.0,
        lm_calls=result.usage.lm_calls,
    )


if __name__ == "__main__":
    asyncio.run(main())
