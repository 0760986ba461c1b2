# pyright: basic, reportMissingImports=false
import time

import dspy

from benchmarks._child import given, report
from benchmarks.with_dspy._triage import MODEL, Triage, exact_match, examples

FIRST_DEMO = 50_000


def main() -> None:
    options = given()
    program = dspy.Predict(Triage)
    program.demos = examples(options["demos"], first=FIRST_DEMO)
    evaluate = dspy.Evaluate(devset=examples(options["rows"]), metric=exact_match, num_threads=options["in_flight"])
    with dspy.context(lm=dspy.LM(MODEL, api_base=options["api_base"], temperature=0.0, cache=options["cache"])):
        program(message="a first message, so that connections and imports are there")
        start, cpu = time.perf_counter(), time.process_time()
        result = evaluate(program)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        again = timed_again(evaluate, program) if options["cache"] else 0.0
    report(seconds=seconds, cpu_seconds=cpu, again_seconds=again, score=result.score)


def timed_again(evaluate: dspy.Evaluate, program: dspy.Predict) -> float:
    start = time.perf_counter()
    evaluate(program)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
