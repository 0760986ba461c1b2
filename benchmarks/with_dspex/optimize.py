import asyncio
import json
import time
from pathlib import Path
from typing import Any, cast

from benchmarks._child import given, report, requests_made
from benchmarks.with_dspex._triage import MODEL
from dspex_core import LM, Evaluate, Example, Module, Predict, using
from dspex_core.modules import as_program
from dspex_core.optimizers import optimizer_named
from dspex_core.signature import FieldSpec, SignatureSpec


def _one_step(data: dict[str, Any]) -> Module:
    signature = SignatureSpec(
        name="Classify",
        instructions=data["instructions"],
        fields=(
            FieldSpec(name=data["input"], role="input", type="str"),
            FieldSpec(name=data["output"], role="output", type=f"Literal{data['labels']!r}"),
        ),
    )
    return Predict(signature.build())


def _two_steps(data: dict[str, Any]) -> Module:
    """A program that is written with DSPy, as it is."""
    from benchmarks.with_dspy._two_steps import TwoSteps  # noqa: PLC0415 - DSPy takes half a second to import

    return as_program(cast("Any", TwoSteps)(data))


async def main() -> None:
    options = given()
    data = json.loads(Path(options["data"]).read_text())
    train, val, test = (
        [Example(row).with_inputs(data["input"]) for row in data.get(part, ())] for part in options["parts"]
    )
    program = _two_steps(data) if options["steps"] == 2 else _one_step(data)
    optimizer = optimizer_named(options["optimizer"]).from_options(
        {"metric": "exact_match", "seed": options["seed"], **options.get("options", {})}
    )
    lm = LM(MODEL, api_base=options["api_base"], temperature=0.0, concurrency=options["in_flight"])
    with using(lm=lm):
        await program(**{data["input"]: "a first call, so that connections and imports are there"})
        before, start, cpu = requests_made(options["api_base"]), time.perf_counter(), time.process_time()
        best = await optimizer.compile(program, trainset=train, valset=val or None)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        requests = requests_made(options["api_base"]) - before
        score = (await Evaluate(test, "exact_match")(best.program)).score if test else 0.0
    report(score=score, seconds=seconds, cpu_seconds=cpu, requests=requests)


if __name__ == "__main__":
    asyncio.run(main())
