"""What the prompt model is asked."""

from collections.abc import Mapping

from dspex_core.modules import Predict
from dspex_core.signature import InputField, OutputField, Signature

TIPS = (
    "",
    "Come at the task from an angle that the present instruction does not take.",
    "Be brief: a few plain sentences, and no word that does no work.",
    "Be thorough: spell out each rule that the examples follow, and how to decide close cases.",
    "Say what is at stake when an answer is wrong.",
    "Give the model a role that suits the task.",
)
"""Advice for a proposal, one of which is drawn for each; the first is none."""


class DescribeRows(Signature):
    """Read these rows of a data set and note what holds for most of them.

    Look at subject, form, length and wording, at how the answers follow from the inputs, and at what task the rows seem
    to have been collected for.
    """

    rows: str = InputField(desc="rows of the data set, one JSON object a line")
    observations: str = OutputField(desc="what holds for most rows")


class SumUpObservations(Signature):
    """Sum up notes on one data set for somebody who will write instructions for its task."""

    observations: str = InputField(desc="notes, each on other rows of the data set")
    summary: str = OutputField(desc="two or three sentences with what matters most")


class DescribeProgram(Signature):
    """Say what a program of language-model calls is for, and what each of its steps adds."""

    program: str = InputField(desc="its steps, with the instruction of each")
    sample_run: str = InputField(desc="what each step was given and answered, once")
    description: str = OutputField(desc="what the program is for and how it gets there")


class ProposeInstruction(Signature):
    """Write a better instruction for one step of a program of language-model calls.

    A model will be given the instruction and an input of the kind shown, and nothing else that you see here. So put
    into it whatever helps to answer rightly: what the task is, what tells the possible answers apart, what to heed.
    """

    data_summary: str = InputField(desc="what the data are like")
    data_rows: str = InputField(desc="some rows of the data, one JSON object a line")
    program_description: str = InputField(desc="what the whole program is for")
    step: str = InputField(desc="the step to write for")
    step_examples: str = InputField(desc="inputs and right answers of this step, one JSON object a line")
    present_instruction: str = InputField(desc="the instruction that the step has now")
    tip: str = InputField(desc="how to go about it")
    proposed_instruction: str = OutputField(desc="the new instruction, and nothing else")


def asking(signature: type[Signature], inputs: Mapping[str, str]) -> Predict:
    """A predictor that asks with those of the signature's inputs that are given."""
    for name in signature.input_fields:
        if name not in inputs:
            signature = signature.delete(name)
    return Predict(signature)
