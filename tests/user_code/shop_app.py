"""A user's own module: a program, metrics and an optimizer, as a worker would import them."""

import random
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from dspex_core import KNN, Module, Predict
from dspex_core.optimizers import Optimizer, Proposal
from dspex_core.seam import Passage, Score
from dspex_core.testing import conformance_rows


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


def handbook():
    """Finds what the shop's handbook says, for programs that run on workers."""
    from dspex_core.retrieval import BM25Index

    return BM25Index(
        [
            {"id": "billing", "text": "Billing answers for every invoice, refund, card, payment and price."},
            {"id": "shipping", "text": "Shipping follows a parcel, a courier, an address and a delivery."},
            {"id": "account", "text": "Account helps with a password, a login, an email and a profile."},
            {"id": "bug", "text": "Bug reports say which button, page or screen crashes, hangs or shows an error."},
        ]
    )


class Asking:
    """Finds what a model thinks of a query."""

    async def search(self, query, k):
        return [Passage(text=(await Predict("query -> found")(query=query)).found, score=1.0)] * k


asking = Asking()


class PlainRouter(Router):
    """The same router as ordinary synchronous code."""

    def forward(self, text):
        summary = self.summary.run(text=text)
        return self.topic.run(text=text, summary=summary.summary)


def short(inputs, prediction):
    return -float(len(prediction.topic))


def topic_words(texts):
    words = ("invoice", "refund", "parcel", "courier", "password", "crash")
    return [[text.count(word) + 0.001 for word in words] for text in texts]


nearest = KNN(2, conformance_rows(40), topic_words)


def train(data, *, model, job_id, rank):
    """A trainer: nothing is learnt, and the model that comes out is told apart by its name."""
    assert data.read_text(encoding="utf-8").count("messages") >= 1
    assert job_id
    return f"{model}-rank-{rank}"


def noted(example, prediction, trace=None):
    """Write down each time it is asked; the row names the file."""
    with Path(example.journal).open("a", encoding="utf-8") as journal:
        journal.write(f"{example.text}\n")
    return prediction.topic == example.topic


class ShuffledLabels(Optimizer):
    """Tries a few draws of labeled demos."""

    name: ClassVar[str] = "shuffled_labels"
    k: int = 4
    draws: int = 3

    async def search(self, search):
        rng = random.Random(self.seed)
        given = search.student.get_state()
        proposals = []
        for draw in range(self.draws):
            demos = await search.labeled_demos(rng.sample(range(len(search.trainset)), self.k))
            state = given.with_demos(dict.fromkeys(given.predictors, demos))
            proposals.append(Proposal(state, f"draw {draw}", parent=0))
        candidates = await search.evaluate_all(proposals, phase="scoring draws")
        return max(candidates, key=lambda candidate: candidate.score).state


class Slow(ShuffledLabels):
    """Thinks for longer than the SDK lets a workflow think by itself, and draws with what no sandbox can import."""

    async def search(self, search):
        time.sleep(2.0 + np.random.default_rng(self.seed).uniform(0.5, 1.0))
        return await super().search(search)


class Mistaken(Optimizer):
    """Finds nothing, for it has a defect."""

    async def search(self, search):
        await search.labeled_demos([0])
        return search.no_such_thing


class Odd(Optimizer):
    """Has an option that no other process could be given."""

    like: type = str
