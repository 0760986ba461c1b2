from typing import Literal

from benchmarks._tickets import INSTRUCTIONS, tickets
from dspex_core import Example, InputField, OutputField, Signature

MODEL = "openai/gpt-4o-mini"


class Triage(Signature):
    __doc__ = INSTRUCTIONS

    message: str = InputField(desc="what the customer wrote")
    team: Literal["account", "billing", "bug", "shipping"] = OutputField()


def examples(count: int, *, first: int = 0) -> list[Example]:
    return [Example(message=message, team=team).with_inputs("message") for message, team in tickets(count, first=first)]
