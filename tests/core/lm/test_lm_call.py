import pytest
from model_servers import lm_of

from dspex_core import Module, Predict, Prediction
from dspex_core.errors import InputError


async def test_a_model_answers_a_prompt_and_a_conversation(start_model):
    model = start_model(lambda messages: f"{len(messages)}: {messages[-1]['content']}")
    lm = lm_of(model)
    assert await lm("hi") == "1: hi"
    assert await lm("and?", messages=[{"role": "system", "content": "be brief"}]) == "2: and?"
    assert await lm(messages=[{"role": "user", "content": "alone"}]) == "1: alone"


async def test_what_a_direct_call_takes_counts_for_the_module_that_makes_it(start_model):
    lm = lm_of(start_model(lambda _: "hello"))

    class Says(Module):
        async def forward(self):
            return Prediction(said=await lm("hi"))

    assert (await Says()()).usage.lm_calls == 1


@pytest.mark.parametrize(
    ("given", "complaint"),
    [({}, "nothing to answer"), ({"messages": [{"role": "boss", "content": "x"}]}, "role of a message")],
)
async def test_what_is_no_conversation_is_refused_before_any_call(provider, given, complaint):
    with pytest.raises(InputError, match=complaint):
        await lm_of(provider)(**given)
    assert provider.stats().requests == 0


def test_a_program_shows_what_its_predictors_take_and_give():
    assert repr(Predict("text -> team: str")) == "Predict(text -> team)"
    pipeline = Predict("a -> b") | Predict("b -> c")
    assert repr(pipeline) == "Pipeline(parts[0]: a -> b, parts[1]: b -> c)"
