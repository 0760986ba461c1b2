import pytest
from aiohttp import web
from model_servers import chat_answer, lm_of, refusal, written

from dspex_core import LM, Evaluate, Example, Predict, events, using
from dspex_core.errors import (
    ConfigurationError,
    LMAuthenticationError,
    LMProviderError,
    LMRateLimitError,
    LMRequestError,
)
from dspex_core.lm import _retrying
from dspex_core.optimizers import LabeledFewShot
from dspex_core.seam import LMConfig, LMRequest, LMResponse, Message

ROWS = [Example(text=str(number), label="a").with_inputs("text") for number in range(4)]
PREDICT = Predict("text -> label")


def request(text="hello"):
    return LMRequest(messages=(Message(role="user", content=text),))


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.001)


@pytest.fixture
def down(start_server, short_waits):
    return start_server(lambda _: refusal(503, "away"))


@pytest.fixture
def up(start_server):
    return start_server(lambda _: chat_answer(written(label="a")))


def with_fallbacks(server, *others, **options):
    fallbacks = [LM(f"openai/{name}", api_base=other.base_url, cache=False) for name, other in others]
    return lm_of(server, model="openai/first", fallbacks=fallbacks, **options)


async def test_the_next_model_answers_when_the_first_is_down_and_is_named(down, up):
    lm = with_fallbacks(down, ("gpt-4o-mini", up))
    with events.subscribe(types={"lm_fell_back"}) as stream, using(lm=lm):
        prediction = await PREDICT(text="hello")
    assert prediction.label == "a"
    assert prediction.usage.models == ("openai/gpt-4o-mini",)
    assert prediction.usage.cost_usd == pytest.approx(10 * 0.15e-6 + 2 * 0.6e-6)
    told = [event async for event in stream]
    assert [(event.model, event.fallback) for event in told] == [("openai/first", "openai/gpt-4o-mini")]
    assert "away" in told[0].reason
    assert len(down.calls) == 3


async def test_models_are_tried_in_their_order_until_one_answers(start_server, down, up):
    never = start_server(lambda _: chat_answer("never"))
    answer = await with_fallbacks(down, ("second", down), ("third", up), ("fourth", never)).generate(request())
    assert answer.usage.models == ("openai/third",)
    assert not never.calls


async def test_if_no_model_answers_the_last_one_says_why(start_server, down):
    refusing = start_server(lambda _: refusal(401, "who are you?"))
    with pytest.raises(LMAuthenticationError, match="openai/second"):
        await with_fallbacks(down, ("second", refusing)).generate(request())


@pytest.mark.parametrize(("status", "error"), [(400, LMRequestError), (401, LMAuthenticationError)])
async def test_what_waiting_does_not_cure_is_not_passed_on(start_server, up, status, error):
    with pytest.raises(error):
        await with_fallbacks(start_server(lambda _: refusal(status, "no")), ("second", up)).generate(request())
    assert not up.calls


async def test_a_stream_falls_back_until_its_first_piece_has_come(provider, down):
    lm = with_fallbacks(down, ("second", provider))
    *pieces, answer = [piece async for piece in lm.stream(request())]
    assert isinstance(answer, LMResponse)
    assert "".join(pieces) == answer.text
    assert answer.usage.models == ("openai/second",)


async def test_a_stream_that_breaks_after_its_first_piece_fails(start_server, up):
    chunk = {"choices": [{"delta": {"content": "half"}}]}
    breaking = start_server(lambda _: [chunk, {"error": {"message": "it broke", "type": "server_error"}}])
    with pytest.raises(LMProviderError, match="it broke"):
        _ = [piece async for piece in with_fallbacks(breaking, ("second", up)).stream(request())]
    assert not up.calls


async def test_the_first_model_is_asked_again_by_the_next_call(start_server, short_waits, up):
    coming_back = start_server(lambda _: refusal(503, "away") if len(coming_back.calls) <= 3 else chat_answer("back"))
    lm = with_fallbacks(coming_back, ("second", up))
    answers = [await lm.generate(request()) for _ in range(3)]
    assert [answer.usage.models[0] for answer in answers] == ["openai/second", "openai/first", "openai/first"]
    # An answer of the second was never kept as one of the first.
    assert [answer.usage.cached_calls for answer in answers] == [0, 0, 1]


async def test_an_evaluation_loses_no_row_and_names_who_answered(down, up):
    with using(lm=with_fallbacks(down, ("second", up))):
        result = await Evaluate(ROWS, "exact_match")(PREDICT)
    assert (result.score, result.errors) == (100.0, [])
    assert result.usage.models == ("openai/second",)


@pytest.fixture
def used_up(start_server):
    """A server that takes no call for an hour."""
    error = {"error": {"message": "no more"}}
    return start_server(lambda _: web.json_response(error, status=429, headers={"Retry-After": "3600"}))


async def test_a_model_whose_limit_is_used_up_is_not_waited_for(used_up, up):
    lm = with_fallbacks(used_up, ("second", up))
    for number in range(8):
        assert (await lm.generate(request(str(number)))).usage.models == ("openai/second",)
    # After a few refusals it is not even asked.
    assert len(used_up.calls) < 8


async def test_a_compile_measures_the_model_asked_for_unless_told_otherwise(used_up, up):
    optimizer = LabeledFewShot(metric="exact_match", k=2)
    with using(lm=with_fallbacks(used_up, ("second", up))), pytest.raises(LMRateLimitError):
        await optimizer.compile(PREDICT, trainset=ROWS, valset=ROWS)
    assert not up.calls
    with using(lm=with_fallbacks(used_up, ("second", up), fallbacks_in_compile=True)):
        result = await optimizer.compile(PREDICT, trainset=ROWS, valset=ROWS)
    assert (result.score, result.usage.models) == (100.0, ("openai/second",))


def test_fallbacks_by_name_share_the_sampling_and_are_recorded_with_their_own_address(monkeypatch):
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://127.0.0.1:5/v1")
    lm = LM(
        "openai/a", api_base="http://h/v1", temperature=0.3, fallbacks=["anthropic/b", LM("ollama/c", max_tokens=9)]
    )
    first, second = lm.config.fallbacks
    assert (first.model, first.temperature, first.api_base) == ("anthropic/b", 0.3, None)
    assert (second.temperature, second.max_tokens, second.api_base) == (0.0, 9, "http://127.0.0.1:5/v1")
    assert LM.from_config(LMConfig.model_validate_json(lm.config.model_dump_json())).config == lm.config


def test_fallbacks_that_cannot_be_called_are_refused(monkeypatch):
    with pytest.raises(ConfigurationError, match="given its key in code"):
        LM("openai/a", fallbacks=[LM("openai/b", api_key="sk-something-secret")])
    with pytest.raises(ConfigurationError, match="'acme/b'"):
        LM("openai/a", fallbacks=["acme/b"])
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        LM("openai/a", fallbacks=["anthropic/b"]).check()


async def test_retries_and_the_time_of_an_answer_are_in_its_usage(start_server, short_waits):
    server = start_server(lambda _: refusal(503, "away") if len(server.calls) < 3 else chat_answer("hi"))
    lm = lm_of(server)
    usage = (await lm.generate(request())).usage
    assert (usage.lm_calls, usage.retries) == (1, 2)
    assert usage.latency_seconds > 0
    again = (await lm.generate(request())).usage
    assert (again.cached_calls, again.retries, again.latency_seconds) == (1, 0, 0.0)


async def test_retries_and_the_time_of_a_stream_are_in_its_usage(provider):
    lm = lm_of(provider)
    *_, answer = [piece async for piece in lm.stream(request())]
    assert answer.usage.retries == 0
    assert answer.usage.latency_seconds > 0


@pytest.mark.parametrize("given", ["openai/gpt-4o-mini", LMConfig(model="openai/gpt-4o-mini"), 3])
def test_fallbacks_that_are_no_list_are_refused_and_the_list_is_shown(given):
    with pytest.raises(ConfigurationError, match=r"LM 'openai/first': fallbacks are a list: fallbacks=\[.*(mini|3)"):
        LM("openai/first", fallbacks=given)


async def test_a_fallback_without_its_key_is_found_by_the_first_call(up, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    lm = lm_of(up, fallbacks=["anthropic/claude-haiku-4-5"])
    with pytest.raises(ConfigurationError, match="no API key for anthropic/claude-haiku-4-5: set ANTHROPIC_API_KEY"):
        await lm.generate(request())
    assert not up.calls
