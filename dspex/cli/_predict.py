from dspex.cli._inputs import dataset_for, program_inputs, ready_lm
from dspex.cli._shell import say, tell, tell_json
from dspex.cli._words import usage_line
from dspex_core.errors import EvaluationError
from dspex_core.evaluate import Evaluate
from dspex_core.metrics import resolve_metric
from dspex_core.modules import Module
from dspex_core.runtime import using

LMChoice = tuple[str, str | None, int | None]
"""Model, api base, concurrency."""

_ERRORS_TOLD = 5


async def evaluate_program(path: str, data: str, *, metric: str, lm: LMChoice, as_json: bool) -> None:
    """Score a saved program on a data file, and tell the score and the rows that failed."""
    program = Module.load(path)
    function = resolve_metric(metric)
    dataset = dataset_for(program, data)
    model, api_base, concurrency = lm
    ready = await ready_lm(model, api_base=api_base, concurrency=concurrency)
    with using(lm=ready):
        result = await Evaluate(dataset, function, concurrency=ready.config.concurrency)(program)
    if as_json:
        errors = [{"row": row.row, "error": row.error} for row in result.errors]
        document = {"score": result.score, "rows": len(result.rows), "errors": errors, **result.usage.model_dump()}
        tell_json(document)
        if len(result.errors) == len(result.rows):
            raise EvaluationError("the program failed on every row")
        return
    tell(f"score  {result.score:.2f} %  ({len(result.rows)} rows, {len(result.errors)} with errors)")
    tell(f"took   {usage_line(result.usage)}")
    for row in result.errors[:_ERRORS_TOLD]:
        say(f"row {row.row}: {row.error}")
    if len(result.errors) == len(result.rows):
        raise EvaluationError("the program failed on every row")


async def predict_once(path: str, given: list[str], *, lm: LMChoice, as_json: bool) -> None:
    """Run a saved program once, and tell its outputs."""
    program = Module.load(path)
    inputs = program_inputs(program, given)
    model, api_base, _ = lm
    with using(lm=await ready_lm(model, api_base=api_base)):
        prediction = await program(**inputs)
    if as_json:
        tell_json({**prediction.to_dict(), "usage": prediction.usage.model_dump()})
        return
    for name, value in prediction.items():
        tell(f"{name}: {value}")
