import asyncio
import time

from benchmarks._child import given, report
from benchmarks.with_dspex._triage import MODEL, Triage, examples
from dspex_core import LM, Evaluate, Predict, using


async def main() -> None:
    options = given()
    program = Predict(Triage)
    evaluate = Evaluate(examples(options["rows"]), "exact_match", concurrency=options["in_flight"])
    with using(lm=LM(MODEL, api_base=options["api_base"], cache=options["cache"])):
        await program(message="a first message, so that connections and imports are there")
        start, cpu = time.perf_counter(), time.process_time()
        result = await evaluate(program)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    report(seconds=seconds, cpu_seconds=cpu, score=result.score, errors=len(result.errors))


if __name__ == "__main__":
    asyncio.run(main())
