import asyncio

import pytest
from model_servers import asked, lm_of, written

from dspex_core import LM, ChainOfThought, Module, Predict, Prediction, using
from dspex_core.errors import ProgramError, UnknownNameError
from dspex_core.modules import module_named
from dspex_core.seam import PredictorState, ProgramState


class Answer(Module):
    """Searches, then answers."""

    def __init__(self):
        self.search = Predict("question -> query")
        self.answer = ChainOfThought("question, query -> answer")

    async def forward(self, question):
        found = await self.search(question=question)
        return await self.answer(question=question, query=found.query)


class Nested(Module):
    def __init__(self):
        shared = Predict("a -> b")
        self.steps = [shared, Predict("b -> c"), shared]
        self.by_kind = {"x": Predict("c -> d"), 1: (Predict("d -> e"),)}
        self.inner = Answer()
        self.note = "no module"


def answering(messages):
    if "query" in messages[0]["content"].split("Your output fields")[1].split("Every exchange")[0]:
        return written(query=f"about {asked(messages)['question']}")
    return written(reasoning="so it is", answer=asked(messages)["query"].upper())


async def test_a_program_of_several_steps_adds_up_what_they_took(start_model):
    model = start_model(answering)
    with using(lm=lm_of(model)):
        prediction = await Answer()(question="owls")
    assert prediction.answer == "ABOUT OWLS"
    assert prediction.usage.lm_calls == 2
    assert prediction.usage.prompt_tokens == 20


async def test_usage_of_steps_run_at_once_is_added_up_too(start_model):
    class Both(Module):
        def __init__(self):
            self.ask = Predict("text -> team")

        async def forward(self, texts):
            found = await asyncio.gather(*(self.ask(text=text) for text in texts))
            return Prediction(teams=[one.team for one in found])

    model = start_model(lambda messages: written(team=asked(messages)["text"].upper()))
    with using(lm=lm_of(model)):
        prediction = await Both()(texts=["a", "b", "c"])
    assert prediction.teams == ["A", "B", "C"]
    assert prediction.usage.lm_calls == 3


def test_predictors_are_named_by_where_they_stand_and_a_shared_one_only_once():
    assert list(Nested().named_predictors()) == [
        "steps[0]",
        "steps[1]",
        "by_kind['x']",
        "by_kind[1][0]",
        "inner.search",
        "inner.answer.predict",
    ]


def test_a_lone_predictor_is_called_self():
    assert list(Predict("a -> b").named_predictors()) == ["self"]


def test_another_state_gives_another_program():
    program = Answer()
    state = program.get_state()
    changed = ProgramState(
        predictors=state.predictors
        | {"search": PredictorState(instructions="Search well.", demos=({"question": "q"},))}
    )
    other = program.with_state(changed)
    assert other.get_state() == changed
    assert program.get_state() == state


def test_a_state_of_another_program_is_refused_with_both_lists_of_predictors():
    with pytest.raises(
        ProgramError, match=r"this state has predictors self; the program's are search, answer\.predict"
    ):
        Answer().with_state(Predict("a -> b").get_state())


def test_a_program_that_holds_an_lm_can_be_copied_and_shares_it():
    class Judge(Module):
        def __init__(self):
            self.lm = LM("openai/judge")
            self.ask = Predict("a -> b")

    program = Judge()
    assert program.with_state(program.get_state()).lm is program.lm


async def test_a_module_without_forward_says_so():
    with pytest.raises(ProgramError, match=r"Nested defines no forward"):
        await Nested()(a="x")


async def test_a_forward_that_returns_no_prediction_says_what_it_returned():
    class Bare(Module):
        async def forward(self, text):
            return {"team": text}

    with pytest.raises(ProgramError, match=r"Bare\.forward returned a dict, not a Prediction"):
        await Bare()(text="x")


def test_an_unknown_module_name_suggests_the_nearest():
    assert module_named("predict") is Predict
    with pytest.raises(UnknownNameError, match="did you mean 'chain_of_thought'"):
        module_named("chain-of-though")
