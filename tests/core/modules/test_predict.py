import copy

import pytest
from model_servers import asked, lm_of, written

from dspex_core import LM, ChainOfThought, Example, Predict, Usage, using
from dspex_core.errors import AdapterParseError, ConfigurationError, ProgramError, SignatureError
from dspex_core.seam import LMConfig, PredictorState, ProgramState

TRIAGE = "text -> team: Literal['billing', 'bug']"


def state_of(name, **changes):
    return ProgramState(predictors={name: PredictorState(instructions="Route it.", **changes)})


async def test_a_prediction_has_the_outputs_and_what_they_took(start_model):
    model = start_model(lambda _: written(team="billing"))
    with using(lm=lm_of(model, model="openai/gpt-4o-mini")):
        prediction = await Predict(TRIAGE)(text="refund me")
    assert prediction.to_dict() == {"team": "billing"}
    assert prediction.usage.lm_calls == 1
    assert (prediction.usage.prompt_tokens, prediction.usage.completion_tokens) == (10, 2)
    assert prediction.usage.cost_usd > 0


async def test_chain_of_thought_reasons_before_it_answers(start_model):
    model = start_model(lambda _: written(reasoning="they paid twice", team="billing"))
    with using(lm=lm_of(model)):
        prediction = await ChainOfThought(TRIAGE)(text="refund me")
    assert prediction.to_dict() == {"reasoning": "they paid twice", "team": "billing"}
    system = model.conversations[0][0]["content"]
    assert system.index("`reasoning`") < system.index("`team`")


async def test_an_unreadable_answer_is_sent_back_with_the_reason_and_the_second_one_counts(start_model):
    def answer(messages):
        corrected = messages[-1]["content"].startswith("That answer cannot be read")
        return written(team="billing") if corrected else "I think it is billing."

    model = start_model(answer)
    with using(lm=lm_of(model)):
        prediction = await Predict(TRIAGE)(text="refund me")
    assert prediction.team == "billing"
    assert prediction.usage.lm_calls == 2
    first, second = model.conversations
    assert second[: len(first)] == first
    said, correction = second[len(first) :]
    assert (said["role"], said["content"]) == ("assistant", "I think it is billing.")
    assert "output field 'team' is missing" in correction["content"]


async def test_two_unreadable_answers_raise_what_the_model_said(start_model):
    model = start_model(lambda _: written(team="sales"))
    with using(lm=lm_of(model)), pytest.raises(AdapterParseError, match=r"output field 'team'.*sales"):
        await Predict(TRIAGE)(text="refund me")
    assert len(model.bodies) == 2


async def test_an_empty_answer_is_corrected_like_any_other(start_model):
    model = start_model(lambda messages: written(team="bug") if len(messages) > 2 else "")
    with using(lm=lm_of(model)):
        assert (await Predict(TRIAGE)(text="it crashes")).team == "bug"


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({}, "input 'text' is missing; StringSignature takes text"),
        ({"text": "a", "txet": "b"}, "there is no input 'txet'; StringSignature takes text"),
        ({"txet": "b"}, r"there is no input 'txet'; did you mean 'text'\? StringSignature takes text"),
    ],
)
async def test_wrong_inputs_are_named_before_any_call(provider, inputs, complaint):
    with using(lm=lm_of(provider)), pytest.raises(ProgramError, match=complaint):
        await Predict(TRIAGE)(**inputs)
    assert provider.stats().requests == 0


async def test_without_an_lm_the_error_says_how_to_set_one():
    with pytest.raises(ConfigurationError, match=r"configure\(lm=LM"):
        await Predict(TRIAGE)(text="refund me")


async def test_instructions_and_demos_of_the_state_reach_the_model_and_the_original_stays_as_it_is(start_model):
    model = start_model(lambda _: written(team="bug"))
    plain = Predict(TRIAGE)
    with using(lm=lm_of(model)):
        await plain(text="refund me")
        taught = plain.with_state(state_of("self", demos=({"text": "it crashed", "team": "bug"},)))
        await taught(text="refund me")
        await plain(text="again")
    _, with_demo, without = model.conversations
    assert with_demo[0]["content"].endswith("Route it.")
    assert with_demo[2]["content"] == written(team="bug")
    assert len(without) == 2
    assert not without[0]["content"].endswith("Route it.")


async def test_a_predictor_with_a_model_of_its_own_asks_that_one(start_model):
    general, special = start_model(lambda _: written(team="bug")), start_model(lambda _: written(team="billing"))
    config = LMConfig(model="openai/special", api_base=special.base_url)
    with using(lm=lm_of(general)):
        prediction = await Predict(TRIAGE).with_state(state_of("self", lm=config))(text="refund me")
    assert prediction.team == "billing"
    assert special.bodies[0]["model"] == "special"
    assert general.bodies == []


async def test_values_of_other_types_reach_the_model_as_json(start_model):
    model = start_model(
        lambda messages: written(total=str(sum(map(int, asked(messages)["numbers"].strip("[]").split(",")))))
    )
    with using(lm=lm_of(model)):
        assert (await Predict("numbers: list[int] -> total: int")(numbers=[1, 2, 3])).total == 6


def test_a_signature_that_reasons_already_cannot_get_a_second_reasoning():
    with pytest.raises(SignatureError, match="has a field 'reasoning' already"):
        ChainOfThought("q -> reasoning, answer")


async def test_a_copy_of_a_predictor_has_its_own_state(start_model):
    first = Predict(TRIAGE)
    second = copy.deepcopy(first)
    second.set_state(PredictorState(instructions="Other."))
    assert first.get_state() != second.get_state()


async def test_outputs_of_a_cached_call_are_the_same_and_free(start_model):
    model = start_model(lambda _: written(team="bug"))
    with using(lm=lm_of(model)):
        paid, free = [await Predict(TRIAGE)(text="it crashes") for _ in range(2)]
    assert free.to_dict() == paid.to_dict()
    assert free.usage == Usage(cached_calls=1, models=paid.usage.models)
    assert len(model.bodies) == 1


async def test_demos_that_are_set_stand_in_the_next_prompt(start_model):
    model = start_model(lambda _: written(team="bug"))
    triage = Predict(TRIAGE)
    with using(lm=lm_of(model)):
        await triage(text="it crashes")
        triage.demos = [Example(text="charged twice", team="billing"), {"text": "no sound", "team": "bug"}]
        await triage(text="it crashes")
    assert len(model.conversations[0]) == 2
    assert ["charged twice" in model.conversations[1][1]["content"], len(model.conversations[1])] == [True, 6]
    assert [demo.team for demo in triage.demos] == ["billing", "bug"]


@pytest.mark.parametrize(
    ("demos", "told"),
    [
        (["text"], "demo 1 is a str: give an Example"),
        ([{"text": "hi", "team": "bug"}, {"txt": "hi"}], "demo 2 has none of the outputs team; its fields are txt"),
    ],
)
def test_demos_that_can_teach_nothing_are_refused(demos, told):
    triage = Predict(TRIAGE)
    with pytest.raises(ProgramError, match=told):
        triage.demos = demos
    assert triage.demos == ()


async def test_a_signature_that_is_set_is_the_one_that_is_asked(start_model):
    model = start_model(lambda _: written(team="bug", why="it crashed"))
    triage = Predict(TRIAGE)
    with using(lm=lm_of(model)):
        await triage(text="it crashes")
        triage.signature = triage.signature.append("why").with_instructions("Say why, too.")
        prediction = await triage(text="it crashes")
    assert prediction.why == "it crashed"
    assert "Say why, too." in model.conversations[1][0]["content"]


async def test_an_lm_that_is_set_is_the_predictors_own(start_model, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    own, other = start_model(lambda _: written(team="bug")), start_model(lambda _: written(team="billing"))
    triage = Predict(TRIAGE)
    triage.lm = LM("openai/own", api_base=own.base_url)
    with using(lm=lm_of(other)):
        assert (await triage(text="?")).team == "bug"
        triage.lm = None
        assert (await triage(text="?")).team == "billing"


@pytest.mark.parametrize("give", [lambda triage: triage.set_lm("openai/x"), lambda triage: setattr(triage, "lm", "x")])
def test_what_is_no_lm_is_refused(give):
    with pytest.raises(ConfigurationError, match=r"is no LM: write LM\('openai/gpt-4o-mini'\)"):
        give(Predict(TRIAGE))
