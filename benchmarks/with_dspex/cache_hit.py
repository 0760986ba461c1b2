import asyncio
import time

from benchmarks._child import given, report
from benchmarks.with_dspex._triage import MODEL, Triage, examples
from benchmarks.with_dspex.evaluate import FIRST_DEMO
from dspex_core import LM, Predict, using


async def main() -> None:
    options = given()
    calls = options["calls"]
    program = Predict(Triage)
    rows = examples(calls)
    shown = tuple(example.to_dict() for example in examples(options["demos"], first=FIRST_DEMO))
    program = program.with_state(program.get_state().with_demos({"self": shown}))
    with using(lm=LM(MODEL, api_base=options["api_base"])):
        await program.batch(rows)
        for example in rows[: calls // 10]:
            await program(message=example.message)
        start = time.process_time()
        for example in rows:
            prediction = await program(message=example.message)
            if prediction.usage.cached_calls != 1:
                raise RuntimeError("a call was made anew")
        seconds = time.process_time() - start
    report(microseconds=seconds / calls * 1_000_000)


if __name__ == "__main__":
    asyncio.run(main())
