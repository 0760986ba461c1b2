# pyright: basic, reportMissingImports=false
import json
import logging
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import dspy

from benchmarks._child import given, report, requests_made
from benchmarks.with_dspy._triage import MODEL
from benchmarks.with_dspy._two_steps import TwoSteps


def optimized(options: dict[str, Any], program: Any, metric: Any, train: list[Any], val: list[Any]) -> Any:
    """The program as DSPy's optimizer of that name leaves it; of these, only MIPROv2 knows a seed."""
    if options["optimizer"] == "bootstrap_few_shot":
        return dspy.BootstrapFewShot(metric=metric).compile(program, trainset=train)
    if options["optimizer"] == "mipro_v2":
        optimizer = dspy.MIPROv2(metric=metric, auto="light", seed=options["seed"], num_threads=options["in_flight"])
    else:
        optimizer = dspy.BootstrapFewShotWithRandomSearch(metric=metric, num_threads=options["in_flight"])
    return optimizer.compile(program, trainset=train, valset=val)


def main() -> None:
    options = given()
    data = json.loads(Path(options["data"]).read_text())
    train, val, test = (
        [dspy.Example(row).with_inputs(data["input"]) for row in data.get(part, ())] for part in options["parts"]
    )
    fields = {
        data["input"]: (str, dspy.InputField()),
        data["output"]: (Literal[tuple(data["labels"])], dspy.OutputField()),
    }
    one_step = dspy.Predict(dspy.Signature(fields, data["instructions"]))
    program = TwoSteps(data) if options["steps"] == 2 else one_step

    def exact_match(example: Any, prediction: Any, trace: Any = None) -> bool:  # noqa: ARG001 - DSPy passes it
        return example[data["output"]] == prediction[data["output"]]

    logging.disable(logging.CRITICAL)
    api_base, in_flight = options["api_base"], options["in_flight"]
    with dspy.context(lm=dspy.LM(MODEL, api_base=api_base, temperature=0.0)), redirect_stdout(StringIO()):
        program(**{data["input"]: "a first call, so that connections and imports are there"})
        before, start, cpu = requests_made(api_base), time.perf_counter(), time.process_time()
        best = optimized(options, program, exact_match, train, val)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        requests = requests_made(api_base) - before
        score = dspy.Evaluate(devset=test, metric=exact_match, num_threads=in_flight)(best).score if test else 0.0
    report(score=score, seconds=seconds, cpu_seconds=cpu, requests=requests)


if __name__ == "__main__":
    main()
