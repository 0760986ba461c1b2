import pytest
from model_servers import chat_answer, lm_of, refusal

from dspex_core import Predict, events, using
from dspex_core.errors import ConfigurationError, LMConnectionError, LMMalformedResponseError, LMProviderError
from dspex_core.lm import _retrying
from dspex_core.seam import ImagePart, LMRequest, Message, ResponseFormat, TextPart, ToolDefinition

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
FORMAT = ResponseFormat(name="out", json_schema=SCHEMA)
TOOL = ToolDefinition(name="look", description="Look.", parameters=SCHEMA)


def request(content="hello", **options):
    messages = (Message(role="system", content="be brief"), Message(role="user", content=content))
    return LMRequest(messages=messages, **options)


def reply(*items, **fields):
    output = items or ({"type": "message", "content": [{"type": "output_text", "text": "hi"}]},)
    usage = {"input_tokens": 10, "output_tokens": 2}
    return {"object": "response", "status": "completed", "output": list(output), "usage": usage} | fields


def responses(server, **options):
    return lm_of(server, **({"model": "openai/gpt-4o-mini", "model_type": "responses"} | options))


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.001)


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("openai/o1", True),
        ("openai/o4-mini-2025-04-16", True),
        ("openai/gpt-5", True),
        ("openai/gpt-5.1-codex", True),
        ("openai/ft:o4-mini:org::id", True),
        ("openrouter/openai/o3", True),
        ("openai/gpt-5-chat-latest", False),
        ("openai/gpt-4o", False),
        ("openai/omni-something", False),
        ("groq/openai/gpt-oss-120b", False),
    ],
)
@pytest.mark.parametrize("model_type", ["chat", "responses"])
async def test_reasoning_models_get_their_own_parameters(start_server, monkeypatch, model, reasons, model_type):
    for variable in ("OPENROUTER_API_KEY", "GROQ_API_KEY"):
        monkeypatch.setenv(variable, "key-of-the-tests")
    server = start_server(lambda _: chat_answer() | reply())
    await lm_of(server, model=model, model_type=model_type, max_tokens=50).generate(request())
    (body,) = server.bodies
    limit = ("max_completion_tokens" if reasons else "max_tokens") if model_type == "chat" else "max_output_tokens"
    assert ("temperature" in body, body[limit]) == (not reasons, 50)


async def test_what_a_name_does_not_tell_can_be_said(start_server):
    server = start_server(lambda _: chat_answer())
    await lm_of(server, model="openai/my-reasoner", reasoning=True).generate(request())
    await lm_of(server, model="openai/o3", reasoning=False).generate(request())
    assert ["temperature" in body for body in server.bodies] == [False, True]


async def test_effort_is_asked_for_in_the_words_of_each_api(start_server):
    server = start_server(lambda _: chat_answer() | reply())
    for model_type in ("chat", "responses"):
        await lm_of(server, model="openai/o3", model_type=model_type, reasoning_effort="low").generate(request())
    chat, response = server.bodies
    assert chat["reasoning_effort"] == "low"
    assert response["reasoning"] == {"effort": "low"}


async def test_a_reasoning_model_of_the_fake_provider_is_called_as_it_wants(provider):
    with using(lm=lm_of(provider, model="openai/o3", reasoning_effort="low")):
        prediction = await Predict("text -> label: Literal['bug', 'billing']")(text="I was charged twice")
    assert prediction.label in ("bug", "billing")
    assert 0 < prediction.usage.reasoning_tokens <= prediction.usage.completion_tokens


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default is supported.",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    ],
)
async def test_a_model_that_turns_out_to_reason_is_asked_as_such_from_then_on(start_server, message):
    server = start_server(lambda body: refusal(400, message) if "temperature" in body else chat_answer())
    lm = lm_of(server, model="openai/my-own", max_tokens=5)
    with events.subscribe() as stream:
        for number in range(2):
            assert (await lm.generate(request(str(number)))).text == "hi"
    assert ["temperature" in body for body in server.bodies] == [True, False, False]
    assert server.bodies[1]["max_completion_tokens"] == 5
    assert [event.type async for event in stream] == ["parameters_refused"]


async def test_further_fields_are_sent_and_decide_the_place_in_the_cache(start_server):
    server = start_server(lambda _: chat_answer())
    for extra in ({}, {"top_p": 0.9}, {"top_p": 0.5, "stop": ["x"]}, {"stop": ["x"], "top_p": 0.5}):
        await lm_of(server, extra=extra).generate(request())
    assert [body.get("top_p") for body in server.bodies] == [None, 0.9, 0.5]
    assert server.bodies[2]["stop"] == ["x"]


@pytest.mark.parametrize("options", [{"reasoning_effort": "low"}, {"model_type": "responses"}])
async def test_what_else_decides_the_answer_has_answers_of_its_own(start_server, options):
    server = start_server(lambda _: chat_answer() | reply())
    await lm_of(server).generate(request())
    await lm_of(server, **options).generate(request())
    assert len(server.bodies) == 2


async def test_tokens_of_the_providers_cache_and_of_reasoning_are_counted_and_priced(start_server):
    details = {"prompt_tokens_details": {"cached_tokens": 1000}, "completion_tokens_details": {"reasoning_tokens": 30}}
    server = start_server(lambda _: chat_answer(prompt_tokens=1200, completion_tokens=50, **details))
    usage = (await lm_of(server, model="openai/gpt-4o-mini").generate(request())).usage
    assert (usage.prompt_tokens, usage.cached_tokens) == (1200, 1000)
    assert (usage.completion_tokens, usage.reasoning_tokens) == (50, 30)
    # GPT-4o mini: $0.15 a million sent, 0.075 found in the cache, 0.60 received.
    assert usage.cost_usd == pytest.approx((200 * 0.15 + 1000 * 0.075 + 50 * 0.6) / 1e6)


async def test_a_price_of_ones_own_wins_over_the_list(start_server):
    server = start_server(lambda _: chat_answer())
    for model in ("openai/gpt-4o-mini", "openai/my-own"):
        answer = await lm_of(server, model=model, price_per_million=(1.0, 5.0)).generate(request())
        assert answer.usage.cost_usd == pytest.approx((10 * 1 + 2 * 5) / 1e6)
    with pytest.raises(ConfigurationError, match="price_per_million"):
        lm_of(server, price_per_million=(-1, 1))


async def test_responses_take_messages_images_tools_and_a_schema(start_server):
    call = {"type": "function_call", "name": "look", "arguments": '{"a": "b"}', "call_id": "c"}
    server = start_server(lambda _: reply({"type": "reasoning", "summary": []}, call))
    parts = (TextPart(text="what is it?"), ImagePart(url="https://example.com/a.png"))
    answer = await responses(server).generate(request(parts, tools=(TOOL,), response_format=FORMAT))
    ((path, _, body),) = server.calls
    assert (path, body["store"]) == ("/v1/responses", False)
    assert body["input"][0] == {"role": "system", "content": "be brief"}
    assert [part["type"] for part in body["input"][1]["content"]] == ["input_text", "input_image"]
    assert (body["tools"][0]["type"], body["tools"][0]["name"]) == ("function", "look")
    assert body["text"]["format"] == {"type": "json_schema", "name": "out", "schema": SCHEMA, "strict": True}
    assert (answer.text, [(use.name, use.args) for use in answer.tool_calls]) == ("", [("look", {"a": "b"})])


async def test_tokens_of_responses_are_counted(start_server):
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 40},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 15},
    }
    server = start_server(lambda _: reply(usage=usage))
    used = (await responses(server).generate(request())).usage
    assert (used.prompt_tokens, used.cached_tokens, used.completion_tokens, used.reasoning_tokens) == (100, 40, 20, 15)


def deltas(*texts):
    return [{"type": "response.output_text.delta", "delta": text} for text in texts]


async def test_responses_stream(start_server):
    ended = {"type": "response.completed", "response": reply()}
    server = start_server(lambda _: [{"type": "response.created", "response": {}}, *deltas("h", "i"), ended])
    *pieces, answer = [piece async for piece in responses(server).stream(request())]
    assert (pieces, answer.text, answer.usage.prompt_tokens) == (["h", "i"], "hi", 10)


FAILED = {"status": "failed", "error": {"code": "server_error", "message": "it broke"}}


async def test_a_response_that_failed_is_tried_again(start_server, short_waits):
    server = start_server(lambda _: reply() if len(server.bodies) > 1 else reply(**FAILED))
    assert (await responses(server).generate(request())).text == "hi"
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ([{"type": "response.failed", "response": FAILED}], LMProviderError),
        ([{"type": "error", "code": "server_error", "message": "it broke"}], LMProviderError),
        ([], LMConnectionError),
        ([{"type": "response.completed", "response": None}], LMMalformedResponseError),
    ],
)
async def test_a_streamed_response_that_does_not_end_well_raises(start_server, last, error):
    server = start_server(lambda _: [*deltas("h"), *last])
    with pytest.raises(error):
        _ = [piece async for piece in responses(server).stream(request())]


@pytest.mark.parametrize("answer", [{}, {"output": None}, {"output": [{}]}, {"output": [{"type": "function_call"}]}])
async def test_an_answer_that_is_no_response_is_malformed(start_server, short_waits, answer):
    server = start_server(lambda _: answer)
    with pytest.raises(LMMalformedResponseError):
        await responses(server).generate(request())


async def test_an_error_in_the_middle_of_a_streamed_completion_is_the_one_it_says(start_server):
    chunk = {"choices": [{"delta": {"content": "h"}}]}
    server = start_server(lambda _: [chunk, {"error": {"message": "it broke", "type": "server_error"}}])
    with pytest.raises(LMProviderError, match="it broke"):
        _ = [piece async for piece in lm_of(server).stream(request())]
