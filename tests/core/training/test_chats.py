import json

import pytest

from dspex_core import ChainOfThought, ChatAdapter, Image, JSONAdapter, Predict, TwoStepAdapter, XMLAdapter
from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.lm import LM
from dspex_core.seam import PredictorState, TrainingStep
from dspex_core.training import chats
from dspex_core.types import ToolCalls

STEP = TrainingStep(predictor="self", values={"text": "charged twice", "team": "billing"})


def program(adapter=None, demos=()):
    made = Predict("text -> team: Literal['billing', 'bug']")
    config = adapter.config if adapter else None
    made.set_state(PredictorState(instructions="Route the message.", demos=tuple(demos), adapter=config))
    return made


def messages_of(content):
    return [json.loads(line)["messages"] for line in content.splitlines()]


@pytest.mark.parametrize("adapter", [ChatAdapter(), JSONAdapter(), XMLAdapter()], ids=repr)
def test_an_example_is_the_chat_in_which_the_program_asks_and_an_answer_that_it_reads(adapter):
    trained = program(adapter, demos=[{"text": "it crashes", "team": "bug"}])
    [messages] = messages_of(chats(trained, [STEP]))
    prefix = adapter.prefix(trained.signature, trained.state.instructions, trained.state.demos)
    asked = [*prefix, *adapter.question(trained.signature, {"text": "charged twice"})]
    assert messages[:-1] == [{"role": message.role, "content": message.content} for message in asked]
    assert messages[-1]["role"] == "assistant"
    assert adapter.parse(trained.signature, messages[-1]["content"]) == {"team": "billing"}


def test_an_example_for_a_two_step_adapter_answers_by_the_names_of_the_fields():
    [messages] = messages_of(chats(program(TwoStepAdapter(LM("openai/fake"))), [STEP]))
    assert messages[-1]["content"] == "team: billing"


def test_a_demo_of_the_example_itself_is_not_shown_in_it():
    demos = [{"text": "charged twice", "team": "billing"}, {"text": "it crashes", "team": "bug"}]
    [messages] = messages_of(chats(program(demos=demos), [STEP]))
    assert sum("charged twice" in message["content"] for message in messages) == 1
    assert any("it crashes" in message["content"] for message in messages)


def test_an_image_is_a_part_of_its_message():
    step = TrainingStep(
        predictor="self", values={"picture": Image(url="http://127.0.0.1/cat.png").model_dump(), "kind": "cat"}
    )
    look = Predict("picture: Image -> kind: Literal['cat', 'dog']")
    [messages] = messages_of(chats(look, [step]))
    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    assert [part["image_url"] for part in parts if part["type"] == "image_url"] == [{"url": "http://127.0.0.1/cat.png"}]


def test_an_example_without_an_output_is_refused_by_its_number():
    bad = TrainingStep(predictor="predict", values={"text": "x", "team": "bug", "reasoning": None})
    good = TrainingStep(predictor="predict", values={"text": "x", "team": "bug", "reasoning": "it says so"})
    with pytest.raises(DatasetError, match=r"example 2: the output 'reasoning' .* is missing"):
        chats(ChainOfThought("text -> team"), [good, bad])


def test_an_example_of_no_predictor_or_with_an_empty_answer_is_refused():
    with pytest.raises(DatasetError, match="example 1: the program has no predictor 'other'"):
        chats(program(), [STEP.model_copy(update={"predictor": "other"})])


def test_calls_of_a_providers_own_function_calling_cannot_be_trained_on():
    agent = Predict("question, tools: list[Tool] -> calls: ToolCalls")
    agent.set_state(agent.state.model_copy(update={"adapter": JSONAdapter(native_tools=True).config}))
    values = {"question": "x", "tools": [], "calls": ToolCalls(tool_calls=[]).model_dump()}
    with pytest.raises(ConfigurationError, match="without native_tools"):
        chats(agent, [TrainingStep(predictor="self", values=values)])
