import itertools

import pytest
from model_servers import asked, lm_of, written

from dspex_core import Example, Module, Predict, using
from dspex_core.errors import ConfigurationError, UnknownNameError
from dspex_core.optimizers import COPRO
from dspex_core.runtime import InProcessRuntime
from dspex_core.testing import FakeProvider, conformance_program, conformance_rows

ROWS = [Example(text=f"text{n}", team=f"team{n}").with_inputs("text") for n in range(8)]


def task(messages):
    """Knows the teams whose numbers stand in its instruction."""
    number = asked(messages)["text"].removeprefix("text")
    return written(team=f"team{number}" if f"<{number}>" in messages[0]["content"] else "unknown")


def writer(*instructions):
    """Writes these instructions in turn, round and round."""
    turns = itertools.cycle(instructions)
    return lambda messages: written(new_instruction=next(turns))


async def compiled(model, prompts, *, student=None, concurrency=1, valset=ROWS, **options):
    """One call at a time by default, so that the writer's turns are those of the search."""
    with using(runtime=InProcessRuntime(lm_of(model), concurrency=concurrency)):
        optimizer = COPRO(**{"metric": "exact_match", "prompt_model": lm_of(prompts, concurrency=1)} | options)
        return await optimizer.compile(student or Predict("text -> team"), trainset=ROWS, valset=valset)


async def test_the_best_instruction_wins_and_demos_stay(start_model):
    student = Predict("text -> team")
    state = student.get_state()
    student = student.with_state(state.with_demos({"self": ({"text": "a", "team": "b"},)}))
    result = await compiled(
        start_model(task), start_model(writer("know <1>", '"know <1> <2> <3>"', "know <4> <5>")), student=student,
        breadth=4, depth=1,
    )  # fmt: skip
    [found] = result.program.get_state().predictors.values()
    assert (found.instructions, found.demos) == ("know <1> <2> <3>", ({"text": "a", "team": "b"},))
    assert (result.baseline_score, result.score) == (0.0, 37.5)


async def test_breadth_depth_and_temperature_say_what_is_written(start_model):
    prompts = start_model(writer(*(f"know <{n}>" for n in range(20))))
    result = await compiled(start_model(task), prompts, breadth=3, depth=3, init_temperature=1.1)
    assert len(prompts.bodies) == 2 + 3 + 3
    assert {body["temperature"] for body in prompts.bodies} == {1.1}
    rounds = [candidate.label.partition(":")[0] for candidate in result.candidates]
    assert rounds == ["baseline", *["round 1"] * 3, *["round 2"] * 3, *["round 3"] * 3]
    own = Predict("text -> team").get_state().predictors["self"].instructions
    assert result.candidates[3].state.predictors["self"].instructions == own


async def test_later_rounds_see_the_best_attempts_with_their_scores_the_best_last(start_model):
    prompts = start_model(writer("know <1>", "know <1> <2>", "know <3> <4> <5>"))
    await compiled(start_model(task), prompts, breadth=2, depth=3)
    last = prompts.bodies[-1]["messages"][-1]["content"]
    assert last.index("25.00: know <1> <2>") < last.index("37.50: know <3> <4> <5>")
    assert "12.50" not in last
    assert "text" in asked(prompts.bodies[0]["messages"])["examples"]


async def test_an_instruction_tried_before_costs_nothing(start_model):
    model = start_model(task)
    result = await compiled(model, start_model(writer("know <1>")), breadth=4, depth=3)
    assert len(model.bodies) == 2 * len(ROWS)
    assert result.score == 12.5


async def test_answers_that_cannot_be_read_are_passed_over(start_model):
    prompts = start_model(lambda _: "I would rather not")
    result = await compiled(start_model(task), prompts, breadth=2, depth=2)
    assert result.score == result.baseline_score == 0.0


class Twostep(Module):
    def __init__(self):
        self.first = Predict("text -> hint")
        self.second = Predict("text, hint -> team")

    async def forward(self, text):
        hint = (await self.first(text=text)).hint
        return await self.second(text=text, hint=hint)


async def test_predictors_take_turns_and_build_on_each_others_best(start_model):
    def answer(messages):
        values, told = asked(messages), messages[0]["content"]
        if "hint" in values:
            number = values["text"].removeprefix("text")
            return written(team=f"team{number}" if values["hint"] == "good" and "good" in told else "unknown")
        return written(hint="good" if "good" in told else "bad")

    result = await compiled(start_model(answer), start_model(writer("be good")), student=Twostep(), breadth=2, depth=2)
    found = result.program.get_state().predictors
    assert {name: predictor.instructions for name, predictor in found.items()} == {
        "first": "be good",
        "second": "be good",
    }
    assert result.score == 100.0
    assert [c.index for c in result.candidates] == list(range(len(result.candidates)))


async def test_a_seed_gives_one_result_at_any_concurrency():
    trainset, valset, found = conformance_rows(24), conformance_rows(12, start=24), []
    async with FakeProvider() as provider:
        for concurrency in (1, 16):
            with using(runtime=InProcessRuntime(lm_of(provider, cache=False), concurrency=concurrency)):
                optimizer = COPRO(metric="exact_match", breadth=4, depth=2, seed=5)
                found.append(await optimizer.compile(conformance_program(), trainset=trainset, valset=valset))
    assert found[0].candidates == found[1].candidates
    assert found[0].score > found[0].baseline_score + 30


async def test_without_a_validation_set_the_training_rows_score(start_model):
    result = await compiled(start_model(task), start_model(writer("know <1> <2>")), breadth=2, depth=1, valset=None)
    assert (result.baseline_score, result.score) == (0.0, 25.0)


async def test_what_cannot_be_searched_is_refused_before_any_call(start_model):
    model, prompts = start_model(task), start_model(writer("x"))
    with pytest.raises(ConfigurationError, match="needs a metric"):
        await compiled(model, prompts, metric=None)
    with pytest.raises(ConfigurationError, match="'breadth': Input should be greater than or equal to 2"):
        COPRO(metric="exact_match", breadth=1)
    with pytest.raises(UnknownNameError, match="'width'"):
        COPRO(metric="exact_match", width=1)
    assert model.bodies == prompts.bodies == []
