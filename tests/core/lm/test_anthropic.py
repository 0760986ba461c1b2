import asyncio

import pytest
from aiohttp import web
from model_servers import lm_of

from dspex_core import LM, Predict, events, using
from dspex_core.errors import (
    ConfigurationError,
    LMAuthenticationError,
    LMConnectionError,
    LMContextLengthError,
    LMMalformedResponseError,
    LMNotFoundError,
    LMProviderError,
    LMRateLimitError,
    LMRequestError,
)
from dspex_core.lm import _retrying
from dspex_core.seam import ImagePart, LMRequest, LMResponse, Message, ResponseFormat, TextPart, ToolDefinition

MODEL = "anthropic/claude-sonnet-4-5"
TOOL = ToolDefinition(
    name="get_weather",
    description="The weather in a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def claude(server, **options):
    return lm_of(server, **({"model": MODEL} | options))


def request(*contents, **options):
    """A conversation: the instruction, then turns of the user and of the assistant."""
    system, *turns = contents or ("be brief", "hello")
    roles = ["user", "assistant"] * len(turns)
    messages = [Message(role=role, content=content) for role, content in zip(roles, turns, strict=False)]
    return LMRequest(messages=(Message(role="system", content=system), *messages), **options)


def said(*blocks, **usage):
    counts = {"input_tokens": 10, "output_tokens": 2} | usage
    content = [{"type": "text", "text": "hi"}] if not blocks else list(blocks)
    return {"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn", "usage": counts}


def failing(kind, status, message="no", headers=None):
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return web.json_response(body, status=status, headers=headers)


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.001)


async def test_a_program_runs_on_anthropics_api(provider):
    with using(lm=claude(provider)):
        prediction = await Predict("text -> label: Literal['bug', 'billing']")(text="I was charged twice")
    assert prediction.label in ("bug", "billing")
    counted = provider.stats().endpoints["messages"]
    assert (counted.answered, counted.prompt_tokens) == (1, prediction.usage.prompt_tokens)
    assert counted.completion_tokens == prediction.usage.completion_tokens
    assert prediction.usage.models == (MODEL,)


async def test_the_same_program_streams(provider):
    predict = Predict("text -> answer")
    with using(lm=claude(provider, cache=False)):
        whole = await predict(text="hello")
        *pieces, streamed = [piece async for piece in predict.stream(text="hello")]
    assert streamed.to_dict() == whole.to_dict()
    assert "".join(piece.text for piece in pieces if piece.field == "answer").strip() == whole.answer
    assert (streamed.usage.prompt_tokens, streamed.usage.completion_tokens) == (
        whole.usage.prompt_tokens,
        whole.usage.completion_tokens,
    )


@pytest.mark.parametrize("kind", ["429", "500", "drop", "malformed"])
async def test_faults_that_pass_are_tried_again_until_the_answer_comes(start_provider, short_waits, kind):
    provider = start_provider(fault_rate=0.3, fault_kinds=kind, retry_after_seconds=0)
    lm = claude(provider)
    responses = await asyncio.gather(*(lm.generate(request("s", str(number))) for number in range(20)))
    assert all(response.text for response in responses)
    assert provider.stats().answered == 20
    assert provider.stats().faults[kind] > 0


async def test_the_instruction_and_the_last_demo_are_marked_for_the_cache(start_server):
    server = start_server(lambda _: said())
    await claude(server).generate(request("rule", "in 1", "out 1", "in 2", "out 2", "question"))
    (body,) = server.bodies
    mark = {"cache_control": {"type": "ephemeral"}}
    assert body["system"] == [{"type": "text", "text": "rule"} | mark]
    marked = [message["content"][0]["text"] for message in body["messages"] if "cache_control" in message["content"][0]]
    assert marked == ["out 2"]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"] * 2 + ["user"]
    await claude(server, prompt_caching=False, cache=False).generate(request("rule", "in", "out", "question"))
    assert "cache_control" not in str(server.bodies[1])


async def test_what_all_rows_share_is_found_in_the_providers_cache(provider):
    demos = ["word " * 600, "label", "word " * 600, "label"]
    lm = claude(provider, cache=False)
    first = await lm.generate(request("rule " * 600, *demos, "first row"))
    second = await lm.generate(request("rule " * 600, *demos, "second row"))
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens > 0.9 * second.usage.prompt_tokens
    assert second.usage.cost_usd < 0.3 * first.usage.cost_usd


async def test_tokens_of_the_cache_and_of_thinking_are_counted_and_priced(start_server):
    server = start_server(
        lambda _: said(
            input_tokens=100,
            cache_read_input_tokens=1000,
            cache_creation_input_tokens=200,
            output_tokens=50,
            output_tokens_details={"thinking_tokens": 30},
        )
    )
    usage = (await claude(server).generate(request())).usage
    assert (usage.prompt_tokens, usage.cached_tokens) == (1300, 1000)
    assert (usage.completion_tokens, usage.reasoning_tokens) == (50, 30)
    # Claude Sonnet 4.5: $3 a million sent, 0.30 read from the cache, 3.75 written to it, 15 received.
    assert usage.cost_usd == pytest.approx((100 * 3 + 1000 * 0.3 + 200 * 3.75 + 50 * 15) / 1e6)


async def test_sampling_and_the_limit_of_tokens_are_sent_with_a_default(start_server):
    server = start_server(lambda _: said())
    await claude(server, temperature=0.3, extra={"top_k": 5}).generate(request())
    await claude(server, max_tokens=7).generate(request())
    first, second = server.bodies
    assert (first["model"], first["temperature"], first["max_tokens"], first["top_k"]) == (
        "claude-sonnet-4-5",
        0.3,
        4096,
        5,
    )
    assert second["max_tokens"] == 7


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-3-5-sonnet-20241022", True),
        ("claude-sonnet-4-20250514", True),
        ("claude-opus-4-6", True),
        ("claude-haiku-4-5-20251001", True),
        ("claude-opus-4-7", False),
        ("claude-opus-4-8-20260101", False),
        ("claude-sonnet-5-5", False),
        ("my-gateway-model", True),
    ],
)
async def test_a_temperature_goes_to_the_models_that_take_one(start_server, model, takes):
    server = start_server(lambda _: said())
    await claude(server, model=f"anthropic/{model}").generate(request())
    assert ("temperature" in server.bodies[0]) == takes


async def test_a_model_that_refuses_the_temperature_is_asked_without_it_from_then_on(start_server):
    def answer(body):
        if "temperature" in body:
            return failing("invalid_request_error", 400, "`temperature` is deprecated for this model.")
        return said()

    server = start_server(answer)
    lm = claude(server, model="anthropic/my-own")
    with events.subscribe() as stream:
        for number in range(2):
            assert (await lm.generate(request("s", str(number)))).text == "hi"
    assert ["temperature" in body for body in server.bodies] == [True, False, False]
    refused = [event async for event in stream]
    assert [(event.type, event.model) for event in refused] == [("parameters_refused", "anthropic/my-own")]


async def test_effort_makes_the_model_think(start_server):
    server = start_server(lambda _: said({"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hi"}))
    answer = await claude(server, reasoning_effort="low").generate(request())
    (body,) = server.bodies
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "low"})
    assert body["max_tokens"] == 16_384
    assert "temperature" not in body
    assert answer.text == "hi"


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_go_through_function_calling(start_provider, stream):
    rule = {"when": "", "tool_calls": [{"name": "get_weather", "arguments": {"city": "Rome"}}]}
    provider = start_provider(script=[rule])
    asked = request(tools=(TOOL,))
    lm = claude(provider)
    answer = [piece async for piece in lm.stream(asked)][-1] if stream else await lm.generate(asked)
    assert isinstance(answer, LMResponse)
    assert [(call.name, call.args) for call in answer.tool_calls] == [("get_weather", {"city": "Rome"})]


async def test_images_go_as_addresses_or_as_what_they_hold(start_server):
    server = start_server(lambda _: said())
    parts = (
        TextPart(text="what is it?"),
        ImagePart(url="https://example.com/a.png"),
        ImagePart(url="data:image/png;base64,aGk="),
    )
    await claude(server).generate(request("s", parts))
    text, far, near = server.bodies[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "what is it?"}
    assert far["source"] == {"type": "url", "url": "https://example.com/a.png"}
    assert near["source"] == {"type": "base64", "media_type": "image/png", "data": "aGk="}


async def test_a_schema_is_asked_for_until_it_is_refused(start_server):
    def answer(body):
        refused = "output_config" in body
        return failing("invalid_request_error", 400, "output_config: not here") if refused else said()

    server = start_server(answer)
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    asked = request(response_format=ResponseFormat(name="out", json_schema=schema))
    lm = claude(server, cache=False)
    for _ in range(2):
        assert (await lm.generate(asked)).text == "hi"
    assert server.bodies[0]["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert ["output_config" in body for body in server.bodies] == [True, False, False]


@pytest.mark.parametrize(
    ("kind", "status", "message", "error"),
    [
        ("invalid_request_error", 400, "bad", LMRequestError),
        ("invalid_request_error", 400, "prompt is too long: 213462 tokens > 200000 maximum", LMContextLengthError),
        ("authentication_error", 401, "invalid x-api-key", LMAuthenticationError),
        ("permission_error", 403, "no", LMAuthenticationError),
        ("not_found_error", 404, "model: claude-x", LMNotFoundError),
        ("request_too_large", 413, "too large", LMRequestError),
    ],
)
async def test_what_waiting_does_not_cure_is_never_tried_again(start_server, kind, status, message, error):
    server = start_server(lambda _: failing(kind, status, message))
    with pytest.raises(error) as caught:
        await claude(server).generate(request())
    assert (type(caught.value), caught.value.status, caught.value.retryable) == (error, status, False)
    assert (caught.value.provider, caught.value.model) == ("anthropic", "claude-sonnet-4-5")
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("rate_limit_error", 429, LMRateLimitError),
        ("api_error", 500, LMProviderError),
        ("overloaded_error", 529, LMProviderError),
    ],
)
async def test_what_waiting_may_cure_is_tried_again(start_server, short_waits, kind, status, error):
    server = start_server(lambda _: failing(kind, status, headers={"Retry-After": "0"}))
    with pytest.raises(error) as caught:
        await claude(server).generate(request())
    assert (caught.value.status, caught.value.retryable, caught.value.retry_after) == (status, True, 0)
    assert len(server.calls) == 10


@pytest.mark.parametrize("answer", [{}, {"content": None}, {"content": [{}], "usage": {}}, {"content": []}])
async def test_an_answer_that_is_no_message_is_malformed(start_server, short_waits, answer):
    server = start_server(lambda _: answer)
    with pytest.raises(LMMalformedResponseError, match="anthropic/claude"):
        await claude(server).generate(request())


START = {"type": "message_start", "message": said(output_tokens=0)}
TEXT = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "half"}},
]


async def streamed(lm):
    return [piece async for piece in lm.stream(request())]


@pytest.mark.parametrize(
    ("kind", "error"), [("overloaded_error", LMProviderError), ("rate_limit_error", LMRateLimitError)]
)
async def test_an_error_in_the_middle_of_a_stream_is_the_one_it_says(start_server, kind, error):
    failure = {"type": "error", "error": {"type": kind, "message": "Overloaded"}}
    server = start_server(lambda _: [START, *TEXT, failure])
    with pytest.raises(error, match="Overloaded"):
        await streamed(claude(server))


async def test_a_stream_that_breaks_off_is_no_answer(start_server):
    server = start_server(lambda _: [START, *TEXT])
    with pytest.raises(LMConnectionError, match="the stream ended before the answer did"):
        await streamed(claude(server))


async def test_the_address_may_end_in_v1_or_not(provider, monkeypatch):
    for url in (provider.root_url, provider.root_url + "/v1", provider.root_url + "/v1/"):
        monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
        assert (await LM(MODEL, cache=False).generate(request())).text
    assert provider.stats().endpoints["messages"].answered == 3


async def test_without_a_key_the_error_names_the_variable(provider, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(ConfigurationError, match="set ANTHROPIC_API_KEY"):
        await claude(provider).generate(request())
    assert provider.stats().requests == 0
