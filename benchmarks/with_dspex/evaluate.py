import asyncio
import time

from benchmarks._child import all_ready, given, report
from benchmarks.with_dspex._triage import MODEL, Triage, examples
from dspex_core import LM, Evaluate, Predict, using

FIRST_DEMO = 50_000


async def main() -> None:
    options = given()
    program = Predict(Triage)
    demos = tuple(example.to_dict() for example in examples(options["demos"], first=FIRST_DEMO))
    program = program.with_state(program.get_state().with_demos({"self": demos}))
    rows = examples(options["rows"], first=options.get("first", 0))
    evaluate = Evaluate(rows, "exact_match", concurrency=options["in_flight"])
    with using(lm=LM(MODEL, api_base=options["api_base"], cache=options["cache"], concurrency=options["in_flight"])):
        await program(message="a first message, so that connections and imports are there")
        all_ready()
        began_at, start, cpu = time.time(), time.perf_counter(), time.process_time()
        result = await evaluate(program)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        ended_at = began_at + seconds
        again = await timed_again(evaluate, program) if options["cache"] else 0.0
    report(
        seconds=seconds,
        cpu_seconds=cpu,
        again_seconds=again,
        score=result.score,
        errors=len(result.errors),
        began_at=began_at,
        ended_at=ended_at,
    )


async def timed_again(evaluate: Evaluate, program: Predict) -> float:
    start = time.perf_counter()
    await evaluate(program)
    return time.perf_counter() - start


if __name__ == "__main__":
    asyncio.run(main())
