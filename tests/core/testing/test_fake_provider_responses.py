import json

import openai
import pytest
from intent_prompts import LABELS, fields_of, prompt
from pydantic import BaseModel

from dspex_core.testing import FakeProvider


@pytest.fixture
async def client(provider):
    async with sdk_of(provider) as opened:
        yield opened


def sdk_of(provider):
    address = {"base_url": provider.base_url, "api_key": "key"}
    return openai.AsyncOpenAI(**address, max_retries=0, _strict_response_validation=True)


def asking(text="my card is declined", demos=(), **more):
    system, *messages = prompt(text, demos)["messages"]
    return {"model": "gpt-4o-mini", "instructions": system["content"], "input": messages} | more


async def test_the_openai_sdk_reads_the_response_and_its_usage(provider, client):
    body = asking()
    answer = await client.responses.create(**body)
    assert answer.status == "completed"
    assert fields_of(answer.output_text)["label"] in LABELS
    assert answer.usage.input_tokens == sum(
        -(-len(text) // 4) for text in (body["instructions"], body["input"][0]["content"])
    )
    assert answer.usage.output_tokens_details.reasoning_tokens == 0
    counted = provider.stats().endpoints["responses"]
    assert (counted.answered, counted.prompt_tokens) == (1, answer.usage.input_tokens)
    assert counted.completion_tokens == answer.usage.output_tokens


async def test_demos_teach_over_this_api_too(client):
    for label in ("change_pin", "close_account"):
        answer = await client.responses.create(**asking("blorb the flarn", [("flarn blorb", label)]))
        assert fields_of(answer.output_text)["label"] == label


async def test_a_text_alone_is_a_question(client):
    assert (await client.responses.create(model="m", input="Say hello. And more.")).output_text == "Say hello."


async def test_a_stream_adds_up_to_the_response_that_is_not_streamed(provider, client):
    whole = await client.responses.create(**asking())
    async with client.responses.stream(**asking()) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert (final.output_text, final.usage) == (whole.output_text, whole.usage)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 3
    assert "".join(deltas) == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events if event.type.count(".") == 1] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    assert provider.stats().streams == 1


TOOLS = [
    {
        "type": "function",
        "name": "get_weather",
        "description": "The weather in a city.",
        "strict": False,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
USER = {"role": "user", "content": "What is the weather in Rome?"}


async def test_a_function_is_called_and_its_output_is_answered_in_words(client):
    answer = await client.responses.create(model="m", input=[USER], tools=TOOLS)
    (call,) = answer.output
    assert (call.type, call.name, json.loads(call.arguments)) == (
        "function_call",
        "get_weather",
        {"city": USER["content"]},
    )
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "Sun."}
    final = await client.responses.create(model="m", input=[USER, call.model_dump(), output], tools=TOOLS)
    assert [item.type for item in final.output] == ["message"]


async def test_scripted_calls_are_streamed():
    script = [
        {"when": "Rome", "answer": "One moment.", "tool_calls": [{"name": "get_weather", "arguments": {"city": "R"}}]}
    ]
    async with (
        FakeProvider(script=script, chunk_characters=3) as provider,
        sdk_of(provider) as client,
        client.responses.stream(model="m", input=[USER], tools=TOOLS) as stream,
    ):
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    message, call = final.output
    assert (message.content[0].text, json.loads(call.arguments)) == ("One moment.", {"city": "R"})
    assert kinds.count("response.function_call_arguments.delta") > 3


async def test_a_choice_of_tools_is_obeyed(client):
    named = await client.responses.create(
        model="m", input="Hello.", tools=TOOLS, tool_choice={"type": "function", "name": "get_weather"}
    )
    none = await client.responses.create(model="m", input=[USER], tools=TOOLS, tool_choice="none")
    assert [answer.output[0].type for answer in (named, none)] == ["function_call", "message"]


class Order(BaseModel):
    team: str
    count: int


async def test_the_openai_sdk_parses_an_answer_into_the_model_it_asked_for(client):
    answer = await client.responses.parse(model="gpt-4o", input="Two for Ada.", text_format=Order)
    assert answer.output_parsed == Order(team="Two for Ada.", count=0)
    async with FakeProvider(structured_output=False) as plain, sdk_of(plain) as other:
        with pytest.raises(openai.BadRequestError, match="json_schema"):
            await other.responses.parse(model="gpt-4o", input="Two for Ada.", text_format=Order)


async def test_models_that_reason_say_what_it_cost(provider, client):
    plain = await client.responses.create(**asking())
    hard = await client.responses.create(**asking(model="o3", reasoning={"effort": "high"}))
    easy = await client.responses.create(**asking(model="gpt-5-mini", reasoning={"effort": "minimal"}))
    chat = await client.chat.completions.create(**prompt("hello") | {"model": "gpt-5", "temperature": 1})
    assert [item.type for item in hard.output] == ["reasoning", "message"]
    assert hard.usage.output_tokens_details.reasoning_tokens == 4 * (hard.usage.output_tokens // 5)
    assert easy.usage.output_tokens_details.reasoning_tokens == 0
    assert hard.usage.output_tokens > plain.usage.output_tokens
    details = chat.usage.completion_tokens_details
    assert details.reasoning_tokens == chat.usage.completion_tokens * 2 // 3
    assert provider.stats().endpoints["chat"].reasoning_tokens == details.reasoning_tokens


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5"])
@pytest.mark.parametrize(
    ("setting", "named"), [({"temperature": 0}, "temperature"), ({"max_tokens": 5}, "max_completion_tokens")]
)
async def test_models_that_reason_refuse_what_openais_do(client, model, setting, named):
    body = {"model": model, "messages": [USER]}
    with pytest.raises(openai.BadRequestError, match=named) as caught:
        await client.chat.completions.create(**body | setting)
    assert caught.value.param == next(iter(setting))
    assert await client.chat.completions.create(**body, max_completion_tokens=5)


async def test_a_cut_answer_says_so(client):
    cut = await client.responses.create(model="m", input="word " * 100, max_output_tokens=16)
    chat = await client.chat.completions.create(model="m", messages=[USER], max_tokens=2)
    assert (cut.status, cut.incomplete_details.reason, cut.usage.output_tokens) == (
        "incomplete",
        "max_output_tokens",
        16,
    )
    assert (chat.choices[0].finish_reason, chat.choices[0].message.content) == ("length", "What is ")


async def test_what_is_known_of_a_prompt_is_told_where_prompts_are_cached(client):
    def cached(usage):
        return (getattr(usage, "prompt_tokens_details", None) or usage.input_tokens_details).cached_tokens

    async with FakeProvider(prompt_caching=True) as provider, sdk_of(provider) as caching:
        used = [(await caching.responses.create(**asking(text))).usage for text in ("one", "two", "two")]
        chat = (await caching.chat.completions.create(**prompt("two"))).usage
        counted = provider.stats().endpoints
    plain = [(await client.responses.create(**asking("one"))).usage for _ in range(2)]
    assert cached(used[0]) == 0
    assert cached(used[1]) == -(-len(asking()["instructions"]) // 4)
    assert cached(used[2]) == used[2].input_tokens == cached(chat)
    assert counted["responses"].cached_tokens == cached(used[1]) + cached(used[2])
    assert [cached(usage) for usage in plain] == [0, 0]


CALL = {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"messages": []}, "moved to 'input'"),
        ({"max_tokens": 5}, "moved to 'max_output_tokens'"),
        ({"input": []}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, "No tool call found"),
        ({"input": [USER, CALL]}, "No tool output found"),
        ({"previous_response_id": "resp_1"}, "resp_1"),
        ({"tool_choice": "required"}, "tools"),
        ({"model": "o3", "temperature": 0}, "temperature"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "json_object"}}, "instructions": None}, "json"),
    ],
)
async def test_what_openai_refuses_is_refused_in_its_words(provider, http, change, complaint):
    async with http.post(f"{provider.base_url}/responses", json=asking() | change) as response:
        assert response.status == 400
        assert complaint in (await response.json())["error"]["message"]


async def test_faults_come_as_openais_errors():
    async with FakeProvider(fault_rate=1, fault_kinds="429") as provider, sdk_of(provider) as client:
        with pytest.raises(openai.RateLimitError):
            await client.responses.create(**asking())
