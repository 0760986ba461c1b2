import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic_core import to_jsonable_python

from dspex_core.errors import AdapterParseError
from dspex_core.modules import Predict
from dspex_core.optimizers._result import P
from dspex_core.optimizers._search import Search
from dspex_core.record import Example
from dspex_core.seam import LMConfig, RowTrace
from dspex_core.signature import InputField, OutputField, Signature

LONGEST_TEXT = 4_000
"""Characters of one value that are shown."""
MOST_CALLS = 8
"""Calls of one predictor on one row that are shown, the last ones."""


class ImproveInstruction(Signature):
    """You look after the instruction of one step in a program of language-model calls.

    You see the instruction as it stands, and how the step fared with it: what it was given, what it answered, how that
    was judged and why. Find out what the judgements have in common: where the instruction misleads, what it leaves
    open, and which facts about the task it would have taken to be right. Then write the instruction that the step
    should have had.

    Keep what served well. Write down as general rules what the feedback teaches, with the particular names, terms,
    formats and facts of the subject, because whoever follows the instruction sees neither these runs nor the feedback.
    Do not write down answers to the single inputs shown.
    """

    present_instruction: str = InputField(desc="the instruction as it stands")
    runs: str = InputField(desc="runs of the step, one JSON object a line, each with its score and feedback")
    improved_instruction: str = OutputField(desc="the whole new instruction, and nothing else")


async def improved_instruction(
    search: Search[P], present: str, runs: Sequence[Mapping[str, Any]], *, lm: LMConfig | None, sample: int
) -> str:
    """A better instruction for one predictor, from how its runs went; the present one if the answer cannot be read.

    Args:
        search: The compile under way.
        present: The instruction it has.
        runs: What `run_of` made of each run.
        lm: The model to ask; None for the one in force.
        sample: Number of the sample: asked the same again, the model may say something else.

    Raises:
        LMError: If the model could not be reached.
    """
    lines = "\n".join(json.dumps(run, ensure_ascii=False) for run in runs)
    try:
        answer = await search.ask(
            Predict(ImproveInstruction), {"present_instruction": present, "runs": lines}, lm=lm, rollout=sample
        )
    except AdapterParseError:
        return present
    return str(answer.improved_instruction).strip().strip("`\"'").strip() or present


def run_of(trace: RowTrace, example: Example, predictor: str, *, perfect_score: float) -> dict[str, Any]:
    """What reflection is shown of one run: the predictor's part in it, the score, and what to learn from it.

    Args:
        trace: The run.
        example: Its row.
        predictor: Whose part is shown; if it had none, the program's inputs are.
        perfect_score: What the metric gives at best.
    """
    calls = trace.demos.get(predictor, [])[-MOST_CALLS:]
    shown: dict[str, Any] = {}
    if len(calls) == 1:
        shown["step"] = calls[0]
    elif calls:
        shown["calls of the step"] = calls
    else:
        shown["inputs"] = example.inputs()
    if len(trace.demos) > 1:
        shown["answer of the program"] = trace.outputs
    shown["score"] = trace.score
    shown["feedback"] = feedback_on(trace, example, predictor, perfect_score=perfect_score)
    return cast("dict[str, Any]", _shortened(to_jsonable_python(shown, fallback=str)))


def feedback_on(trace: RowTrace, example: Example, predictor: str, *, perfect_score: float) -> str:
    """What a run teaches, in words: the metric's, or else what went wrong and what would have been right."""
    if said := trace.feedback_by_predictor.get(predictor) or trace.feedback:
        return said
    if trace.failure is None and (trace.score or 0.0) >= perfect_score:
        return "Right."
    found = "Not right." if trace.failure is None else f"The program failed: {trace.failure}"
    labels = to_jsonable_python(example.labels(), fallback=str)
    wanted = "; ".join(f"{name}: {_written(value)}" for name, value in labels.items())
    return f"{found} Wanted: {wanted}" if wanted else found


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]} …"
    if isinstance(value, dict):
        return {name: _shortened(part) for name, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_shortened(part) for part in cast("list[Any]", value)]
    return value
