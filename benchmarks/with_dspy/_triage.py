# pyright: basic, reportMissingImports=false
# DSPy has no types.
from typing import Any, Literal

import dspy

from benchmarks._tickets import INSTRUCTIONS, tickets

MODEL = "openai/gpt-4o-mini"


class Triage(dspy.Signature):
    __doc__ = INSTRUCTIONS

    message: str = dspy.InputField(desc="what the customer wrote")
    team: Literal["account", "billing", "bug", "shipping"] = dspy.OutputField()


def examples(count: int, *, first: int = 0) -> list[dspy.Example]:
    rows = tickets(count, first=first)
    return [dspy.Example(message=message, team=team).with_inputs("message") for message, team in rows]


def exact_match(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:  # noqa: ARG001 - DSPy passes it
    return example.team == prediction.team
