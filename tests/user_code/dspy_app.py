"""A program as its author wrote it with DSPy, and the same task written with ours, as a worker would import them."""

from typing import Literal

import dspy

from dspex_core import Module, Predict

TASK = "Say which topic the message is about."


class Topic(dspy.Signature):
    """Say which topic the message is about."""

    text: str = dspy.InputField()
    summary: str = dspy.InputField(desc="the message in short")
    topic: Literal["billing", "shipping", "account", "bug"] = dspy.OutputField()


class Router(dspy.Module):
    def __init__(self):
        super().__init__()
        self.summary = dspy.Predict("text -> summary")
        self.topic = dspy.Predict(Topic)

    def forward(self, text):
        summary = self.summary(text=text)
        return self.topic(text=text, summary=summary.summary)


router = Router()


class AsyncRouter(dspy.Module):
    def __init__(self):
        super().__init__()
        self.summary = dspy.Predict("text -> summary")
        self.topic = dspy.Predict(Topic)

    async def aforward(self, text):
        summary = await self.summary.acall(text=text)
        return await self.topic.acall(text=text, summary=summary.summary)


class OurRouter(Module):
    def __init__(self):
        self.summary = Predict("text -> summary")
        self.topic = Predict(
            "text, summary 'the message in short' -> topic: Literal['billing', 'shipping', 'account', 'bug']"
        )
        self.topic.signature = self.topic.signature.with_instructions(TASK)

    async def forward(self, text):
        summary = await self.summary(text=text)
        return await self.topic(text=text, summary=summary.summary)
