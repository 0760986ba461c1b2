"""Rows scored early, where places are idle because calls wait to be tried again: what that changes, and what not."""

import asyncio
import json
from contextlib import contextmanager
from typing import ClassVar

import pytest
from aiohttp import web
from model_servers import asked, lm_of, written

from dspex_core import Example, Predict, using
from dspex_core.budget import Budget
from dspex_core.errors import LMError
from dspex_core.lm import _retrying
from dspex_core.optimizers import Proposal, RacingOptimizer
from dspex_core.optimizers._ahead import Ahead
from dspex_core.runtime import InProcessRuntime
from dspex_core.seam import spending
from dspex_core.testing import Trajectory

ROWS = [Example(text=f"text{n}", team=f"TEXT{n}").with_inputs("text") for n in range(60)]
BEFORE_THE_SECOND_BLOCK = len(ROWS) + 2 * 10


class TwoWordings(RacingOptimizer):
    """Two instructions race, one of which makes the model answer well."""

    name: ClassVar[str] = "two_wordings"

    async def search(self, search):
        given = search.student.get_state().predictors["self"]
        states = [
            search.student.get_state().model_copy(
                update={"predictors": {"self": given.model_copy(update={"instructions": f"answer {how}"})}}
            )
            for how in ("well", "badly")
        ]
        await search.evaluate_all(
            [Proposal(state, f"wording {at}", parent=0) for at, state in enumerate(states)],
            phase="trying wordings",
            racing=self.race,
        )
        return states[0]


def said(messages):
    text, row = asked(messages)["text"], int(asked(messages)["text"].removeprefix("text"))
    knows = row % 5 > 0 if "answer well" in str(messages) else row % 3 == 0
    return written(team=text.upper() if knows else "unknown")


def refusing(until):
    """Answers, but for the first conversation about a wording, which is refused until so many others were had."""
    seen = set()
    refused = []

    def answer(messages):
        conversation = json.dumps(messages)
        if "answer " in conversation and not refused:
            refused.append(conversation)
        seen.add(conversation)
        if conversation in refused and len(seen) <= until:
            return web.json_response({"error": {"message": "wait"}}, status=429)
        return said(messages)

    return answer


async def compiled(model):
    with using(runtime=InProcessRuntime(lm_of(model, concurrency=4))):
        return await TwoWordings(metric="exact_match").compile(Predict("text -> team"), trainset=ROWS, valset=ROWS)


def told(result):
    return [(c.rows, c.estimate, c.usage.lm_calls + c.usage.cached_calls) for c in result.candidates]


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.05)


async def test_rows_that_are_probably_next_are_scored_while_one_waits_and_nothing_else_changes(start_model, soon):
    calm = await compiled(start_model(said))
    model = start_model(refusing(BEFORE_THE_SECOND_BLOCK + 3))
    disturbed = await compiled(model)
    assert Trajectory.of(disturbed) == Trajectory.of(calm)
    assert told(disturbed) == told(calm)
    assert disturbed.usage.lm_calls >= calm.usage.lm_calls
    assert disturbed.baseline_scores == calm.baseline_scores


async def test_with_a_budget_nothing_is_scored_that_may_not_be_needed(start_model, soon):
    model = start_model(refusing(BEFORE_THE_SECOND_BLOCK + 3))
    with spending(Budget(lm_calls=10_000)), pytest.raises(LMError):
        await compiled(model)


async def test_nothing_is_scored_early_where_no_call_is_refused(start_model):
    model = start_model(said)
    result = await compiled(model)
    assert len(model.bodies) == sum(calls for _, _, calls in told(result)) < 3 * len(ROWS)


async def test_what_was_begun_early_and_nobody_asked_for_ends_when_it_is_closed():
    begun = []

    class Idle:
        @contextmanager
        def working_ahead(self, more):
            begun.append(asyncio.create_task(more()()))
            yield

    async def score(key):
        await asyncio.Event().wait()

    ahead = Ahead(Idle(), score=score, is_asked=lambda key: False)
    with ahead.of(lambda: [("state", [1, 2])]):
        await asyncio.sleep(0)
    assert ahead.is_early(("state", 1))
    await ahead.close()
    assert begun[0].cancelled()
