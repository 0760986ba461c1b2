import json

import openai
import pytest
from intent_prompts import post
from pydantic import BaseModel

from dspex_core.testing import FakeProvider


def tool(name, description, **parameters):
    schema = {"type": "object", "properties": parameters, "required": list(parameters)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS = [
    tool("get_weather", "The weather forecast for a city.", city={"type": "string"}),
    tool("add_days", "Add days to a date.", days={"type": "integer"}, text={"type": "string"}),
]
USER = {"role": "user", "content": "What is the weather in Rome?"}


def body(*messages, **more):
    return {"model": "gpt-4o-mini", "messages": list(messages) or [USER], "tools": TOOLS} | more


@pytest.fixture
async def client(provider):
    async with sdk_of(provider) as opened:
        yield opened


def sdk_of(provider):
    address = {"base_url": provider.base_url, "api_key": "key"}
    return openai.AsyncOpenAI(**address, max_retries=0, _strict_response_validation=True)


def answered(call, content):
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call.id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call.id, "content": content},
    ]


async def test_the_tool_whose_description_fits_the_question_is_called(client):
    answer = (await client.chat.completions.create(**body())).choices[0]
    call = answer.message.tool_calls[0]
    assert (answer.finish_reason, answer.message.content) == ("tool_calls", None)
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": USER["content"]})


async def test_arguments_come_from_the_inputs_of_their_names(client):
    system = "Your input fields are:\n1. `text` (str):\n2. `ask` (str):\nYour output fields are:\n1. `label` (str):"
    question = "[[ ## text ## ]]\n1 May\n\n[[ ## ask ## ]]\nadd 12 days"
    messages = ({"role": "system", "content": system}, {"role": "user", "content": question})
    answer = await client.chat.completions.create(**body(*messages))
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "add_days"
    assert json.loads(call.function.arguments)["text"] == "1 May"


async def test_a_question_that_no_tool_fits_is_answered_in_words_unless_one_must_be_called(client):
    hello = {"role": "user", "content": "Hello there."}
    plain = (await client.chat.completions.create(**body(hello))).choices[0]
    forced = {"type": "function", "function": {"name": "add_days"}}
    named = (await client.chat.completions.create(**body(hello, tool_choice=forced))).choices[0]
    some = (await client.chat.completions.create(**body(hello, tool_choice="required"))).choices[0]
    none = (await client.chat.completions.create(**body(tool_choice="none"))).choices[0]
    assert (plain.finish_reason, plain.message.tool_calls) == ("stop", None)
    assert named.message.tool_calls[0].function.name == "add_days"
    assert json.loads(named.message.tool_calls[0].function.arguments) == {"days": 0, "text": "Hello there."}
    assert some.message.tool_calls
    assert none.message.tool_calls is None


async def test_the_answer_of_a_tool_is_answered_in_words(client):
    call = (await client.chat.completions.create(**body())).choices[0].message.tool_calls[0]
    last = (await client.chat.completions.create(**body(USER, *answered(call, "Sun.")))).choices[0]
    assert last.finish_reason == "stop"
    assert last.message.content


SCRIPT = [
    {"when": ["Rome", "Sun"], "answer": "It is sunny."},
    {"when": "Rome", "tool_calls": [{"name": "get_weather", "arguments": {"city": "Rome"}}, {"name": "now"}]},
]


async def test_scripted_calls_are_made_until_their_answers_fit_another_rule():
    async with FakeProvider(script=SCRIPT) as provider, sdk_of(provider) as client:
        said = (await client.chat.completions.create(**body())).choices[0]
        calls = said.message.tool_calls
        messages = [{"role": "assistant", "tool_calls": [call.model_dump() for call in calls]}]
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "Sun."} for call in calls]
        final = await client.chat.completions.create(**body(USER, *messages))
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("get_weather", {"city": "Rome"}),
        ("now", {}),
    ]
    assert len({call.id for call in calls}) == 2
    assert final.choices[0].message.content == "It is sunny."


class GetWeather(BaseModel):
    """The weather forecast for a city."""

    city: str


async def test_streamed_calls_add_up_to_those_that_are_not_streamed():
    script = [SCRIPT[1] | {"answer": "One moment."}]
    async with FakeProvider(script=script, chunk_characters=3) as provider, sdk_of(provider) as client:
        whole = (await client.chat.completions.create(**body())).choices[0]
        async with client.chat.completions.stream(**body()) as stream:
            kinds = [event.type async for event in stream]
            streamed = (await stream.get_final_completion()).choices[0]
        stats = provider.stats()
    assert kinds.count("tool_calls.function.arguments.delta") > 3
    assert streamed.finish_reason == whole.finish_reason == "tool_calls"
    assert streamed.message.content == whole.message.content == "One moment."
    assert [(call.function.name, call.function.arguments) for call in streamed.message.tool_calls] == [
        (call.function.name, call.function.arguments) for call in whole.message.tool_calls
    ]
    assert stats.completion_tokens == 2 * (3 + 7 + 2)


async def test_the_openai_sdk_parses_arguments_into_the_model_of_a_strict_tool(client):
    strict = [openai.pydantic_function_tool(GetWeather)]
    answer = await client.chat.completions.parse(model="m", messages=[USER], tools=strict)
    assert answer.choices[0].message.tool_calls[0].function.parsed_arguments == GetWeather(city=USER["content"])


CALLED = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([USER, {"role": "tool", "tool_call_id": "c1", "content": ""}], "must be a response to a preceding message"),
        ([USER, {"role": "assistant", "tool_calls": [CALLED]}], "Without one are: c1"),
        ([USER, {"role": "assistant", "tool_calls": [CALLED]}, USER], "Without one are: c1"),
        ([{"role": "function", "content": ""}], "messages.0.role"),
    ],
)
async def test_calls_without_answers_and_answers_without_calls_are_refused(provider, http, messages, complaint):
    status, raw = await post(http, provider, body(*messages))
    assert status == 400
    assert complaint in json.loads(raw)["error"]["message"]


async def test_a_choice_without_tools_is_refused(provider, http):
    status, raw = await post(http, provider, {"model": "m", "messages": [USER], "tool_choice": "auto"})
    assert status == 400
    assert json.loads(raw)["error"]["param"] == "tool_choice"
