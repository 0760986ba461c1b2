# pyright: basic, reportMissingImports=false
import time
from typing import Any

import dspy

from benchmarks._child import given, report
from benchmarks.with_dspy._triage import MODEL, Triage, exact_match, examples


def compiled(train: list[Any], dev: list[Any], *, in_flight: int) -> tuple[float, float]:
    """Score before and after, as our compile does it."""
    evaluate = dspy.Evaluate(devset=dev, metric=exact_match, num_threads=in_flight)
    program = dspy.Predict(Triage)
    before = evaluate(program)
    best = dspy.BootstrapFewShot(metric=exact_match).compile(program, trainset=train)
    return before.score, evaluate(best).score


def main() -> None:
    options = given()
    with dspy.context(lm=dspy.LM(MODEL, api_base=options["api_base"], temperature=0.0)):
        compiled(examples(8, first=9000), examples(4, first=9500), in_flight=options["in_flight"])
        train, dev = examples(options["train"]), examples(options["dev"], first=options["train"])
        start = time.perf_counter()
        baseline, score = compiled(train, dev, in_flight=options["in_flight"])
        seconds = time.perf_counter() - start
    report(seconds=seconds, baseline=baseline, score=score)


if __name__ == "__main__":
    main()
