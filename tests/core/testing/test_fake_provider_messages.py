import json

import anthropic
import pytest
from intent_prompts import LABELS, fields_of, prompt
from pydantic import BaseModel

from dspex_core.testing import FakeProvider


@pytest.fixture
async def client(provider):
    async with sdk_of(provider) as opened:
        yield opened


def sdk_of(provider, key="key"):
    return anthropic.AsyncAnthropic(
        base_url=provider.root_url, api_key=key, max_retries=0, _strict_response_validation=True
    )


def message(text="my card is declined", demos=(), **more):
    system, *messages = prompt(text, demos)["messages"]
    return {"model": "claude-fake", "max_tokens": 1000, "system": system["content"], "messages": messages} | more


async def test_the_anthropic_sdk_reads_the_answer_and_its_usage(provider, client):
    body = message()
    answer = await client.messages.create(**body)
    assert [block.type for block in answer.content] == ["text"]
    assert fields_of(answer.content[0].text)["label"] in LABELS
    assert (answer.role, answer.stop_reason) == ("assistant", "end_turn")
    assert answer.usage.input_tokens == sum(
        -(-len(text) // 4) for text in (body["system"], body["messages"][0]["content"])
    )
    counted = provider.stats().endpoints["messages"]
    assert (counted.answered, counted.prompt_tokens) == (1, answer.usage.input_tokens)
    assert counted.completion_tokens == answer.usage.output_tokens


async def test_demos_teach_over_this_api_too(client):
    for label in ("change_pin", "close_account"):
        answer = await client.messages.create(**message("blorb the flarn", [("flarn blorb", label)]))
        assert fields_of(answer.content[0].text)["label"] == label


async def test_system_text_and_content_may_come_in_blocks(client):
    whole = await client.messages.create(**message())
    body = message()
    body["system"] = [{"type": "text", "text": body["system"]}]
    body["messages"][0]["content"] = [{"type": "text", "text": body["messages"][0]["content"]}]
    assert (await client.messages.create(**body)).content == whole.content


async def test_a_stream_adds_up_to_the_message_that_is_not_streamed(provider, client):
    whole = await client.messages.create(**message())
    async with client.messages.stream(**message()) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_message()
    assert (final.content[0].text, final.stop_reason) == (whole.content[0].text, whole.stop_reason)
    assert final.usage == whole.usage
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert kinds.count("text") > 3
    assert provider.stats().streams == 1


TOOLS = [
    {
        "name": "get_weather",
        "description": "The weather in a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
USER = {"role": "user", "content": "What is the weather in Rome?"}


def asking(*messages, **more):
    return {"model": "claude-fake", "max_tokens": 1000, "messages": [USER, *messages], "tools": TOOLS} | more


async def test_a_tool_is_used_and_its_result_is_answered_in_words(client):
    answer = await client.messages.create(**asking())
    use = answer.content[0]
    assert (answer.stop_reason, use.name, use.input) == ("tool_use", "get_weather", {"city": USER["content"]})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "Sun."}
    earlier = {"role": "assistant", "content": [use.model_dump(include={"type", "id", "name", "input"})]}
    final = await client.messages.create(**asking(earlier, {"role": "user", "content": [result]}))
    assert [block.type for block in final.content] == ["text"]


async def test_scripted_calls_are_streamed_with_their_text():
    script = [
        {"when": "Rome", "answer": "One moment.", "tool_calls": [{"name": "get_weather", "arguments": {"city": "R"}}]}
    ]
    async with (
        FakeProvider(script=script, chunk_characters=3) as provider,
        sdk_of(provider) as client,
        client.messages.stream(**asking()) as stream,
    ):
        final = await stream.get_final_message()
    text, use = final.content
    assert (text.text, use.name, use.input) == ("One moment.", "get_weather", {"city": "R"})
    assert final.stop_reason == "tool_use"


async def test_a_choice_of_tools_is_obeyed(client):
    hello = {"messages": [{"role": "user", "content": "Hello."}]}
    named = await client.messages.create(**asking(tool_choice={"type": "tool", "name": "get_weather"}) | hello)
    some = await client.messages.create(**asking(tool_choice={"type": "any"}) | hello)
    none = await client.messages.create(**asking(tool_choice={"type": "none"}))
    assert [answer.stop_reason for answer in (named, some, none)] == ["tool_use", "tool_use", "end_turn"]


def marked(text):
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}


async def test_marked_beginnings_are_written_to_the_cache_once_and_read_from_it_after(provider, client):
    body = message() | {"system": [marked("a" * 400)]}
    first = (await client.messages.create(**body)).usage
    again = (await client.messages.create(**body)).usage
    body["messages"] = [{"role": "user", "content": [marked("b" * 40)]}]
    longer = (await client.messages.create(**body)).usage
    other = (await client.messages.create(**body | {"system": [marked("c" * 400)]})).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (100, 0)
    assert (again.cache_creation_input_tokens, again.cache_read_input_tokens) == (0, 100)
    assert (longer.cache_creation_input_tokens, longer.cache_read_input_tokens) == (10, 100)
    assert (longer.input_tokens, first.input_tokens) == (0, again.input_tokens)
    assert other.cache_read_input_tokens == 0
    counted = provider.stats().endpoints["messages"]
    assert (counted.cached_tokens, counted.cache_written_tokens) == (200, 220)
    provider.reset()
    assert (await client.messages.create(**body)).usage.cache_read_input_tokens == 0


async def test_an_answer_longer_than_max_tokens_is_cut_off(client):
    answer = await client.messages.create(**message(max_tokens=3))
    assert (answer.stop_reason, answer.usage.output_tokens, len(answer.content[0].text)) == ("max_tokens", 3, 12)


class Order(BaseModel):
    team: str
    count: int


async def test_the_anthropic_sdk_parses_an_answer_into_the_model_it_asked_for(client):
    body = {"model": "claude-fake", "max_tokens": 100, "messages": [{"role": "user", "content": "Two for Ada."}]}
    answer = await client.messages.parse(**body, output_format=Order)
    assert answer.parsed_output == Order(team="Two for Ada.", count=0)
    async with FakeProvider(structured_output=False) as plain, sdk_of(plain) as other:
        with pytest.raises(anthropic.BadRequestError, match="structured output"):
            await other.messages.parse(**body, output_format=Order)


USE = {"type": "tool_use", "id": "t", "name": "n", "input": {}}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"max_tokens": None}, "max_tokens: "),
        ({"temperature": 1.5}, "temperature: "),
        ({"messages": []}, "messages: "),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "first message"),
        ({"system": [marked("x")] * 5}, "maximum of 4"),
        ({"tools": [], "tool_choice": {"type": "any"}}, "tool_choice"),
        (
            {"messages": [USER, {"role": "assistant", "content": [USE]}, USER]},
            "`tool_use` ids were found without",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]},
            "unexpected `tool_use_id`",
        ),
    ],
)  # fmt: skip
async def test_what_anthropic_refuses_is_refused_in_its_words(provider, http, change, complaint):
    async with http.post(f"{provider.base_url}/messages", json=message() | change) as response:
        assert response.status == 400
        body = await response.json()
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert complaint in body["error"]["message"]


async def test_the_key_goes_in_its_own_header_and_a_wrong_one_is_refused():
    async with FakeProvider(api_key="right") as provider:
        async with sdk_of(provider, "right") as client:
            assert await client.messages.create(**message())
        async with sdk_of(provider, "wrong") as client:
            with pytest.raises(anthropic.AuthenticationError) as caught:
                await client.messages.create(**message())
    assert caught.value.type == "authentication_error"


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [("429", anthropic.RateLimitError, 429), ("500", anthropic.InternalServerError, 500)],
)
async def test_faults_come_as_anthropics_errors(kind, error, status):
    async with FakeProvider(fault_rate=1, fault_kinds=kind) as provider, sdk_of(provider) as client:
        with pytest.raises(error) as caught:
            await client.messages.create(**message())
    assert caught.value.status_code == status
    assert json.loads(caught.value.response.text)["type"] == "error"
