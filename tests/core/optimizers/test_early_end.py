"""A search that is ended early gives the best it has found by then."""

import asyncio

import pytest
from model_servers import asked, lm_of, written

from dspex_core import Example, Predict
from dspex_core.budget import Limits
from dspex_core.events import subscribe
from dspex_core.optimizers import Optimizer, Proposal
from dspex_core.runtime import using
from dspex_core.seam import EarlyEnd, may_end_early, spending

ROWS = [Example(text=f"text{n}", team="right").with_inputs("text") for n in range(4)]


def told(messages):
    """A model that answers right to who asks nicely."""
    if "patient" in messages[0]["content"]:
        return written(team="wait")
    return written(team="right" if "please" in messages[0]["content"] or asked(messages)["text"] == "text0" else "no")


async def judged(example, prediction, trace=None):
    """Never comes to an end over who is patient."""
    JUDGED.append(example)
    if prediction.team == "wait":
        await asyncio.Event().wait()
    return prediction.team == example.team


JUDGED = []


class Endless(Optimizer):
    """Scores what it is told to side by side, and then looks for something better for ever."""

    name = "endless"
    instructions: tuple[str, ...] = ()

    async def search(self, search):
        state = search.student.get_state()
        proposals = [Proposal(self.told(state, text), text, parent=0) for text in self.instructions]
        await search.evaluate_all(proposals, phase="scoring")
        await asyncio.Event().wait()

    def told(self, state, text):
        predictors = {name: p.model_copy(update={"instructions": text}) for name, p in state.predictors.items()}
        return state.model_copy(update={"predictors": predictors})


@pytest.fixture
def compiled(start_model):
    async def compile_until(count, *instructions):
        """Ends the search once so many rows were judged."""
        JUDGED.clear()
        model = start_model(told)
        end = EarlyEnd()
        optimizer = Endless(metric=judged, instructions=instructions)
        with using(lm=lm_of(model, cache=False)), may_end_early(end):
            compiling = asyncio.create_task(optimizer.compile(Predict("text -> team"), trainset=ROWS, valset=ROWS))
            while len(JUDGED) < count:
                await asyncio.sleep(0.01)
            for _ in range(20):
                await asyncio.sleep(0)  # lets what was judged be entered
            end.now("that is enough")
            end.now("said twice")
            return await compiling

    return compile_until


async def test_the_best_candidate_so_far_is_the_result_and_says_why(compiled):
    result = await compiled(8, "please")
    assert result.ended_early == "that is enough"
    assert (result.baseline_score, result.score) == (25.0, 100.0)
    assert result.program.get_state().predictors["self"].instructions == "please"


async def test_a_candidate_scored_while_an_earlier_one_was_not_counts_too(compiled):
    result = await compiled(12, "patient", "please")
    assert [(c.index, c.label, c.score) for c in result.candidates] == [(0, "baseline", 25.0), (1, "please", 100.0)]
    assert result.score == 100.0
    assert result.usage.lm_calls == 12  # those of the one that was not scored to its end were paid for, too


async def test_a_search_ended_before_it_scored_anything_gives_the_program_as_it_was(start_model):
    end = EarlyEnd()
    end.now("not wanted any more")
    with using(lm=lm_of(start_model(told))), may_end_early(end):
        result = await Endless(metric=judged).compile(Predict("text -> team"), trainset=ROWS, valset=ROWS)
    assert (result.score, result.ended_early) == (None, "not wanted any more")
    assert result.candidates == ()


async def test_a_compile_that_is_cancelled_by_others_is_cancelled(start_model):
    JUDGED.clear()
    with using(lm=lm_of(start_model(told))):
        compiling = asyncio.create_task(
            Endless(metric=judged).compile(Predict("text -> team"), trainset=ROWS, valset=ROWS)
        )
        while len(JUDGED) < len(ROWS):
            await asyncio.sleep(0.01)
        compiling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await compiling


async def test_what_was_paid_for_rows_that_were_not_finished_counts_too(start_model):
    model = start_model(told)
    optimizer = Endless(metric="exact_match", instructions=("please",))
    with using(lm=lm_of(model, cache=False)), spending(Limits(lm_calls=6)), subscribe(types=["usage_added"]) as stream:
        result = await optimizer.compile(Predict("text -> team"), trainset=ROWS, valset=ROWS)
        stream.close()
        told_of = [event.usage.lm_calls async for event in stream]
    assert "6 LM calls may be taken" in result.ended_early
    assert [candidate.label for candidate in result.candidates] == ["baseline"]
    assert result.usage.lm_calls == len(model.bodies) == sum(told_of) == 6
