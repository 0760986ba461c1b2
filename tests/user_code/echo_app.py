"""A user's program that answers without a model, so that a data set of any size is quick to score."""

from typing import Annotated

from pydantic import AfterValidator

from dspex_core import InputField, Module, OutputField, Predict, Prediction, Signature


class Parity(Signature):
    """Say whether the text is of odd length."""

    text: str = InputField()
    label: Annotated[str, AfterValidator(str.lower)] = OutputField()  # a type that only its code can check


class Echo(Module):
    def __init__(self):
        self.unused = Predict(Parity)

    async def forward(self, text):
        return Prediction(label="odd" if len(text) % 2 else "even")


echo = Echo()
