"""A user's own module: a program, metrics and an optimizer, as a worker would import them."""

from dspex_core import Module, Predict
from dspex_core.seam import Score


class Router(Module):
    def __init__(self):
        self.summary = Predict("text -> summary")
        self.topic = Predict("text, summary -> topic: Literal['billing', 'shipping', 'account', 'bug']")

    async def forward(self, text):
        summary = await self.summary(text=text)
        return await self.topic(text=text, summary=summary.summary)


router = Router()


def lenient(example, prediction, trace=None):
    return Score(value=1.0 if prediction.topic == example.topic else 0.25, feedback="the topic decides")


def broken(example, prediction, trace=None):
    raise ZeroDivisionError("a bug in the user's metric")
