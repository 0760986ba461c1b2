import json
from typing import Any

from dspex.cli._shell import tell, tell_json
from dspex.cli._words import usage_line
from dspex.client import Run
from dspex_core.record import Prediction
from dspex_core.seam import Evaluation

PROGRAM_RUN, EVALUATION = "ProgramRun", "Evaluation"
"""Kinds of runs that are no compiles, and have an answer."""


async def answer_of(run: Run, kind: str) -> Prediction | Evaluation:
    """What a run that is no compile ended with; waits for its end.

    Raises:
        RunFailedError: If it failed, or is parked.
    """
    return await (run.evaluation() if kind == EVALUATION else run.prediction())


def tell_answer(document: dict[str, Any], answer: Prediction | Evaluation, *, as_json: bool) -> None:
    """Tell it, with the run's JSON document around it."""
    found = (
        {"outputs": answer.to_dict()}
        if isinstance(answer, Prediction)
        else {"score": answer.score, "rows": len(answer.scores), "failed_rows": list(answer.failed_rows)}
    )
    if as_json:
        tell_json(document | answer.usage.model_dump() | found)
        return
    if isinstance(answer, Evaluation):
        tell(f"score     {answer.score:.2f} %  ({len(answer.scores)} rows, {answer.failed} failed)")
        for failure in answer.failures:
            tell(f"          {failure}")
    else:
        for name, value in answer.items():
            tell(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}")
    tell(f"took      {document['seconds']:.1f} s, {usage_line(answer.usage)}")
