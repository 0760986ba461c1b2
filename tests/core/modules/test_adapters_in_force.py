import json

import pytest
from aiohttp import web
from model_servers import lm_of, written

from dspex_core import (
    ChainOfThought,
    ChatAdapter,
    Example,
    Image,
    InputField,
    JSONAdapter,
    Module,
    OutputField,
    Predict,
    Signature,
    Tool,
    ToolCalls,
    TwoStepAdapter,
    XMLAdapter,
    configure,
    events,
    using,
)
from dspex_core.errors import AdapterParseError, LMRequestError
from dspex_core.optimizers import LabeledFewShot
from dspex_core.seam import LMConfig

TRIAGE = "text -> team: Literal['billing', 'bug']"


def capital(country: str) -> str:
    """The capital of a country."""
    return {"France": "Paris"}[country]


class Act(Signature):
    """Decide what to look up."""

    question: str = InputField()
    tools: list[Tool] = InputField()
    calls: ToolCalls = OutputField()


async def told(kind, work):
    """What the work gives, and the events of a kind that it told."""
    with events.subscribe() as stream:
        result = await work
    return result, [event async for event in stream if isinstance(event, kind)]


@pytest.mark.parametrize("adapter", [ChatAdapter(), JSONAdapter(), XMLAdapter()])
async def test_the_fake_model_is_asked_and_understood_through_every_adapter(provider, adapter):
    with using(lm=lm_of(provider), adapter=adapter):
        demo = {"text": "I was charged twice", "team": "billing"}
        taught = await LabeledFewShot(k=1).compile(Predict(TRIAGE), trainset=[Example(demo).with_inputs("text")])
        prediction = await taught.program(text="I was charged three times")
    assert prediction.team == "billing"
    assert prediction.usage.lm_calls == 1


async def test_a_predictors_own_adapter_wins_over_the_one_in_force_and_that_over_the_default(start_model):
    model = start_model(
        lambda messages: "<team>bug</team>" if "<text>" in messages[-1]["content"] else '{"team": "bug"}'
    )
    own = Predict(TRIAGE)
    own.set_adapter(XMLAdapter())
    configure(lm=lm_of(model), adapter=JSONAdapter())
    assert (await own(text="a")).team == "bug"
    assert (await Predict(TRIAGE)(text="b")).team == "bug"
    with using(adapter=XMLAdapter()):
        await Predict(TRIAGE)(text="c")
    asked = [messages[-1]["content"] for messages in model.conversations]
    assert [("<text>" in text, "JSON object" in text) for text in asked] == [
        (True, False),
        (False, True),
        (True, False),
    ]


async def test_an_adapter_is_saved_with_the_program(tmp_path, start_model):
    model = start_model(lambda _: "<reasoning>r</reasoning><team>bug</team>")
    program = ChainOfThought(TRIAGE)
    program.set_adapter(XMLAdapter(fallback=[JSONAdapter()]))
    program.save(tmp_path / "program.json")
    with using(lm=lm_of(model)):
        assert (await Module.load(tmp_path / "program.json")(text="it crashes")).team == "bug"


async def test_fallbacks_ask_in_their_order_and_each_is_told(start_model):
    def answer(messages):
        system = messages[0]["content"]
        if "<team>" in system:
            return "<team>bug</team>"
        return "no idea how to write that"

    model = start_model(answer)
    adapter = ChatAdapter(fallback=[JSONAdapter(), XMLAdapter()])
    with using(lm=lm_of(model), adapter=adapter):
        prediction, fell = await told(events.AdapterFellBack, Predict(TRIAGE)(text="it crashes"))
    assert prediction.team == "bug"
    assert [(event.adapter.partition("(")[0], event.fallback.partition("(")[0]) for event in fell] == [
        ("ChatAdapter", "JSONAdapter"),
        ("JSONAdapter", "XMLAdapter"),
    ]
    assert "output field 'team' is missing" in fell[0].reason
    # Chat and JSON were each told once what is wrong.
    assert prediction.usage.lm_calls == 5


async def test_when_the_last_fallback_fails_too_its_complaint_is_raised(start_model):
    model = start_model(lambda _: "no idea")
    adapter = ChatAdapter(fallback=[JSONAdapter()])
    complaint = pytest.raises(AdapterParseError, match="there is no JSON object in it")
    with using(lm=lm_of(model), adapter=adapter), complaint:
        await Predict(TRIAGE)(text="it crashes")


async def test_the_provider_is_asked_to_hold_to_the_schema(start_model):
    model = start_model(lambda _: '{"team": "bug"}')
    with using(lm=lm_of(model), adapter=JSONAdapter()):
        await Predict(TRIAGE)(text="it crashes")
    form = model.bodies[0]["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True
    assert form["json_schema"]["schema"]["properties"]["team"]["enum"] == ["billing", "bug"]


async def test_a_schema_with_open_objects_is_not_asked_for_strictly(start_model):
    model = start_model(lambda _: '{"table": {"a": 1}}')
    with using(lm=lm_of(model), adapter=JSONAdapter()):
        assert (await Predict("text -> table: dict[str, int]")(text="x")).table == {"a": 1}
    assert model.bodies[0]["response_format"]["json_schema"]["strict"] is False


async def test_a_provider_without_structured_output_is_asked_in_words_once_that_is_known(start_provider):
    provider = start_provider(structured_output=False)
    with using(lm=lm_of(provider), adapter=JSONAdapter()):
        program = Predict(TRIAGE)
        first, refused = await told(events.StructuredOutputRefused, program(text="it crashes"))
        second, again = await told(events.StructuredOutputRefused, program(text="it crashes again"))
    assert {first.team, second.team} <= {"billing", "bug"}
    assert [(event.refused, event.fallback) for event in refused] == [("json_schema", "json_object")]
    assert again == []
    assert provider.stats().requests == 3


async def test_a_refusal_for_another_reason_is_raised_and_not_remembered(start_model):
    def answer(messages):
        if "bad" in messages[-1]["content"]:
            return web.json_response({"error": {"message": "no such parameter"}}, status=400)
        return '{"team": "bug"}'

    model = start_model(answer)
    with using(lm=lm_of(model), adapter=JSONAdapter()):
        with pytest.raises(LMRequestError, match="no such parameter"):
            await Predict(TRIAGE)(text="bad")
        await Predict(TRIAGE)(text="good")
    assert model.bodies[-1]["response_format"]["type"] == "json_schema"


async def test_the_two_step_adapter_lets_one_model_think_and_another_extract(start_model):
    thinker = start_model(lambda _: "I would say that this one is for billing.")
    reader = start_model(lambda messages: written(team="billing") if "for billing" in messages[-1]["content"] else "?")
    adapter = TwoStepAdapter(LMConfig(model="openai/reader", api_base=reader.base_url))
    with using(lm=lm_of(thinker), adapter=adapter):
        prediction = await Predict(TRIAGE)(text="I was charged twice")
    assert prediction.team == "billing"
    assert prediction.usage.lm_calls == 2
    (asked,) = thinker.conversations
    assert "[[ ##" not in "".join(message["content"] for message in asked)
    assert "text: I was charged twice" in asked[-1]["content"]


async def test_the_two_step_adapter_extracts_an_output_of_any_name(start_model):
    model = start_model(lambda messages: written(text="done") if "[[ ##" in messages[0]["content"] else "It is done.")
    with using(lm=lm_of(model), adapter=TwoStepAdapter(LMConfig(model="openai/reader", api_base=model.base_url))):
        assert (await Predict("question -> text")(question="Well?")).text == "done"


async def test_tools_go_through_the_providers_function_calling_where_that_is_wanted(start_provider):
    call = {"name": "capital", "arguments": {"country": "France"}}
    provider = start_provider(script=[{"when": "capital of France", "tool_calls": [call]}])
    with using(lm=lm_of(provider), adapter=ChatAdapter(native_tools=True)):
        prediction = await Predict(Act)(question="What is the capital of France?", tools=[Tool(capital)])
    assert prediction.calls.tool_calls == (ToolCalls.ToolCall(name="capital", args={"country": "France"}),)


async def test_native_tools_stay_out_of_the_prompt_and_reach_the_body(start_model):
    def answer(_):
        function = {"name": "capital", "arguments": '{"country": "France"}'}
        message = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": function}]}
        return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})

    model = start_model(answer)
    with using(lm=lm_of(model), adapter=ChatAdapter(native_tools=True)):
        prediction = await Predict(Act)(question="Capital of France?", tools=[Tool(capital)])
    assert prediction.calls.tool_calls[0].args == {"country": "France"}
    (body,) = model.bodies
    (tool,) = body["tools"]
    assert tool["function"]["name"] == "capital"
    assert tool["function"]["parameters"]["required"] == ["country"]
    assert "capital of a country" not in json.dumps(body["messages"])


async def test_without_native_tools_they_stand_in_the_prompt_and_the_calls_are_read_from_text(start_model):
    calls = '[{"name": "capital", "args": {"country": "France"}}]'
    model = start_model(lambda _: written(calls=calls))
    with using(lm=lm_of(model)):
        prediction = await Predict(Act)(question="Capital of France?", tools=[Tool(capital)])
    assert prediction.calls.tool_calls[0].name == "capital"
    assert "tools" not in model.bodies[0]
    assert "The capital of a country." in model.conversations[0][-1]["content"]


async def test_a_provider_that_refuses_tools_gets_them_in_the_prompt_from_then_on(start_model):
    refusal = {"error": {"message": "tools are not supported"}}
    model = start_model(lambda _: written(calls="[]"))
    answer = model._answer
    model._answer = lambda messages: (
        web.json_response(refusal, status=400) if "tools" in model.bodies[-1] else answer(messages)
    )
    act = Predict(Act)
    with using(lm=lm_of(model), adapter=ChatAdapter(native_tools=True)):
        first, fell = await told(events.AdapterFellBack, act(question="a", tools=[Tool(capital)]))
        await act(question="b", tools=[Tool(capital)])
    assert first.calls.tool_calls == ()
    assert "tools are not supported" in fell[0].reason
    assert ["tools" in body for body in model.bodies] == [True, False, False]


async def test_after_refused_tools_fallbacks_still_ask(start_model):
    def answer(messages):
        if "tools" in model.bodies[-1]:
            return web.json_response({"error": {"message": "tools are not supported"}}, status=400)
        return '{"calls": []}' if "JSON object with the keys" in messages[-1]["content"] else "I would rather not."

    model = start_model(answer)
    with using(lm=lm_of(model), adapter=ChatAdapter(native_tools=True, fallback=[JSONAdapter()])):
        prediction = await Predict(Act)(question="a", tools=[Tool(capital)])
    assert prediction.calls.tool_calls == ()


async def test_a_request_refused_for_another_reason_does_not_turn_native_tools_off(start_model):
    def answer(messages):
        if "bad" in messages[-1]["content"]:
            return web.json_response({"error": {"message": "no"}}, status=400)
        return written(calls="[]")

    model, act = start_model(answer), Predict(Act)
    with using(lm=lm_of(model), adapter=ChatAdapter(native_tools=True)):
        with pytest.raises(LMRequestError):
            await act(question="bad", tools=[Tool(capital)])
        await act(question="good", tools=[Tool(capital)])
    assert ["tools" in body for body in model.bodies] == [True, False, True]


async def test_an_image_reaches_the_provider_as_a_part_of_the_message(start_model):
    class Look(Signature):
        """Say what is on it."""

        picture: Image = InputField()
        answer: str = OutputField()

    model = start_model(lambda _: written(answer="a cat"))
    with using(lm=lm_of(model)):
        await Predict(Look)(picture=Image("https://x.test/cat.png"))
    parts = model.conversations[0][-1]["content"]
    assert {"type": "image_url", "image_url": {"url": "https://x.test/cat.png"}} in parts


async def test_what_an_optimizer_finds_names_the_adapter_it_was_found_with(provider):
    rows = [Example(text="I was charged twice", team="billing").with_inputs("text")]
    with using(lm=lm_of(provider), adapter=XMLAdapter()):
        result = await LabeledFewShot(k=1).compile(Predict(TRIAGE), trainset=rows)
    assert result.program.get_state().predictors["self"].adapter == XMLAdapter().config
