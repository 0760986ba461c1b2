# pyright: basic, reportMissingImports=false
import time

import dspy

from benchmarks._child import given, report
from benchmarks.with_dspy._triage import MODEL, Triage, examples
from benchmarks.with_dspy.evaluate import FIRST_DEMO


def main() -> None:
    options = given()
    calls = options["calls"]
    program = dspy.Predict(Triage)
    rows = examples(calls)
    program.demos = examples(options["demos"], first=FIRST_DEMO)
    with dspy.context(lm=dspy.LM(MODEL, api_base=options["api_base"], temperature=0.0)):
        for example in [*rows, *rows[: calls // 10]]:
            program(message=example.message)
        start = time.process_time()
        for example in rows:
            program(message=example.message)
        seconds = time.process_time() - start
    report(microseconds=seconds / calls * 1_000_000)


if __name__ == "__main__":
    main()
