import asyncio

import pytest
from model_servers import asked, lm_of, values_in, written

from dspex_core import ChainOfThought, Example, Module, Parallel, Pipeline, Predict, Prediction, using
from dspex_core.errors import AdapterParseError, ConfigurationError, ProgramError
from dspex_core.seam import LMConfig


def shouting(messages):
    """Answers every output field asked for with its name and the inputs' values, in capitals."""
    inputs = asked(messages)
    said = " ".join(inputs.values()).upper()
    wanted = [name for name in values_in(messages[0]["content"]) if name not in inputs and name != "completed"]
    return written(**{name: f"{name} of {said}" for name in wanted})


@pytest.fixture
def model(start_model):
    return start_model(shouting)


async def test_fields_flow_by_name_through_a_pipeline(model):
    program = Predict("question -> query") | Predict("query -> found") | Predict("question, found -> answer")
    with using(lm=lm_of(model)):
        prediction = await program(question="why")
    assert prediction.query == "query of WHY"
    assert prediction.found == "found of QUERY OF WHY"
    assert prediction.answer == "answer of WHY FOUND OF QUERY OF WHY"
    assert prediction.usage.lm_calls == 3


async def test_a_users_own_module_takes_its_part_in_a_pipeline(model):
    class Shorten(Module):
        async def forward(self, query, most=5):
            return Prediction(query=query[:most])

    with using(lm=lm_of(model)):
        prediction = await (Predict("question -> query") | Shorten() | Predict("query -> answer"))(question="why")
    assert prediction.query == "query"
    assert prediction.answer == "answer of QUERY"


async def test_a_field_that_nobody_gives_is_named_before_its_part_is_asked(model):
    program = Predict("question -> query") | Predict("context, query -> answer")
    with using(lm=lm_of(model)), pytest.raises(ProgramError, match=r"part 2 .*'context'.*there are question, query"):
        await program(question="why")
    assert len(model.bodies) == 1


def test_pipelines_are_flat_and_say_what_they_take():
    program = Predict("a -> b") | (Predict("b, c -> d") | ChainOfThought("d -> e"))
    assert len(program.parts) == 3
    assert program.input_names() == {"a": True, "c": True}
    assert list(program.named_predictors()) == ["parts[0]", "parts[1]", "parts[2].predict"]


def test_a_pipeline_needs_a_part():
    with pytest.raises(ProgramError, match="at least one module"):
        Pipeline([])


async def test_a_pipeline_is_saved_and_loaded_without_code_of_a_users(model, tmp_path):
    program = Predict("question -> query") | ChainOfThought("query -> answer")
    state = program.get_state()
    state = state.with_demos({"parts[0]": ({"question": "q", "query": "Q"},)})
    program.with_state(state).save(tmp_path / "p.json")
    loaded = Module.load(tmp_path / "p.json", trust=())
    assert type(loaded) is Pipeline
    assert loaded.get_state() == state
    with using(lm=lm_of(model)):
        assert (await loaded(question="why")).query == "query of WHY"


async def test_a_pipeline_is_built_from_json_at_run_time(model):
    spec = [
        {"module": "predict", "signature": "question -> query", "instructions": "Be brief."},
        {"module": "chain_of_thought", "signature": "query -> answer"},
    ]
    program = Pipeline.from_spec(spec)
    with using(lm=lm_of(model)):
        prediction = await program(question="why")
    assert prediction.answer.startswith("answer of")
    assert "Be brief." in model.conversations[0][0]["content"]


async def test_a_batch_gives_predictions_in_the_order_of_its_rows(model):
    rows = [{"text": "one"}, Example(text="two", label="x").with_inputs("text"), {"text": "three"}]
    with using(lm=lm_of(model)):
        predictions = await Predict("text -> said").batch(rows, concurrency=2)
    assert [prediction.said for prediction in predictions] == ["said of ONE", "said of TWO", "said of THREE"]


async def test_a_batch_holds_to_its_concurrency(start_model):
    running, most = 0, 0

    three = asyncio.Barrier(3)

    async def together(messages):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await three.wait()
        running -= 1
        return shouting(messages)

    with using(lm=lm_of(start_model(together))):
        async with asyncio.timeout(30):  # fewer than three at once would wait for ever
            await Predict("text -> said").batch([{"text": str(number)} for number in range(12)], concurrency=3)
    assert most == 3


async def test_the_first_error_of_a_batch_is_raised_and_no_new_row_begun(start_model):
    model = start_model(lambda messages: "unreadable" if asked(messages)["text"] == "0" else shouting(messages))
    with using(lm=lm_of(model)), pytest.raises(AdapterParseError):
        await Predict("text -> said").batch([{"text": str(number)} for number in range(50)], concurrency=1)
    assert {asked(messages)["text"] for messages in model.conversations} == {"0"}


async def test_modules_in_parallel_each_get_their_own_inputs(model):
    pairs = [(Predict("a -> b"), {"a": "x"}), (Predict("c -> d"), Example(c="y").with_inputs("c"))]
    with using(lm=lm_of(model)):
        first, second = await Parallel()(pairs)
    assert (first.b, second.d) == ("b of X", "d of Y")


async def test_set_lm_sends_every_predictor_of_a_program_to_its_own_model(start_model):
    ours, theirs = start_model(shouting), start_model(shouting)
    program = Predict("a -> b") | Predict("b -> c")
    program.set_lm(lm_of(theirs))
    with using(lm=lm_of(ours)):
        await program(a="x")
    assert (len(ours.bodies), len(theirs.bodies)) == (0, 2)
    assert isinstance(program.get_state().predictors["parts[0]"].lm, LMConfig)
    with pytest.raises(ConfigurationError, match="key in code"):
        program.set_lm(lm_of(theirs, api_key="sk-in-code"))
