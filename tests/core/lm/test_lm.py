import asyncio
import json
import os
import subprocess
import sys

import pytest
from aiohttp import web
from model_servers import MODEL, lm_of, written

from dspex_core import LM, Usage
from dspex_core.errors import ConfigurationError, UnknownNameError
from dspex_core.seam import LMConfig, LMRequest, LMResponse, Message


def request(text="hello", **options):
    return LMRequest(messages=(Message(role="user", content=text),), **options)


async def test_the_same_call_again_is_answered_from_the_cache_and_costs_nothing(provider):
    lm = lm_of(provider)
    first = await lm.generate(request())
    second = await lm.generate(request())
    assert second.text == first.text
    assert first.usage.lm_calls == 1
    assert first.usage.prompt_tokens > 0
    assert second.usage == Usage(cached_calls=1, models=(MODEL,))
    assert provider.stats().requests == 1


async def test_another_lm_object_finds_the_answer_too(provider):
    first = await lm_of(provider).generate(request())
    second = await lm_of(provider, concurrency=3, timeout_seconds=5).generate(request())
    assert (second.text, second.usage.cached_calls) == (first.text, 1)
    assert provider.stats().requests == 1


@pytest.mark.slow
async def test_another_process_finds_the_answer_too(provider):
    await lm_of(provider).generate(request())
    script = (
        "import asyncio, sys; from dspex_core import LM; from dspex_core.seam import LMRequest;"
        "lm = LM(sys.argv[1], api_base=sys.argv[2]);"
        "print(asyncio.run(lm.generate(LMRequest.model_validate_json(sys.argv[3]))).usage.cached_calls)"
    )
    arguments = [MODEL, provider.base_url, request().model_dump_json()]
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "1"
    assert provider.stats().requests == 1


@pytest.mark.parametrize(
    "change",
    [
        {"text": "other"},
        {"temperature": 1.0},
        {"rollout_id": 1},
        {"rollout_id": 2},
    ],
)
async def test_what_decides_the_answer_decides_its_place_in_the_cache(provider, change):
    lm = lm_of(provider)
    await lm.generate(request())
    await lm.generate(request(**change))
    assert provider.stats().requests == 2


@pytest.mark.parametrize("options", [{"model": "openai/other"}, {"max_tokens": 5}, {"temperature": 0.5}])
async def test_another_model_or_other_sampling_has_answers_of_its_own(provider, options):
    await lm_of(provider).generate(request())
    await lm_of(provider, **options).generate(request())
    assert provider.stats().requests == 2


async def test_another_endpoint_has_answers_of_its_own(start_model):
    here, there = start_model(lambda _: "here"), start_model(lambda _: "there")
    assert (await lm_of(here).generate(request())).text == "here"
    assert (await lm_of(there).generate(request())).text == "there"


async def test_eight_equal_calls_at_once_send_one_request(start_provider):
    provider = start_provider(latency_ms=50)
    lm = lm_of(provider)
    responses = await asyncio.gather(*(lm.generate(request()) for _ in range(8)))
    assert provider.stats().requests == 1
    assert len({response.text for response in responses}) == 1
    assert sum((response.usage for response in responses), start=Usage()).lm_calls == 1


async def test_without_the_cache_every_call_is_sent(start_provider):
    provider = start_provider(latency_ms=20)
    lm = lm_of(provider, cache=False)
    responses = await asyncio.gather(*(lm.generate(request()) for _ in range(8)))
    assert provider.stats().requests == 8
    assert all(response.usage.lm_calls == 1 for response in responses)


async def test_who_joined_a_call_gets_its_answer_even_if_who_asked_is_cancelled(start_model):
    arrived, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def answer(_):
        loop.call_soon_threadsafe(arrived.set)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(go_on.wait(), loop))
        return "late"

    lm = lm_of(start_model(answer))
    asked = asyncio.create_task(lm.generate(request()))
    await arrived.wait()
    joined = asyncio.create_task(lm.generate(request()))
    await asyncio.sleep(0)
    asked.cancel()
    go_on.set()
    assert (await joined).text == "late"
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_no_more_calls_are_in_flight_than_the_limit(start_provider):
    provider = start_provider(latency_ms=20)
    lm = lm_of(provider, concurrency=3)
    await asyncio.gather(*(lm.generate(request(str(number))) for number in range(12)))
    assert provider.stats().max_in_flight == 3
    assert provider.stats().answered == 12


async def test_a_broken_cache_is_passed_over_with_a_warning(provider, monkeypatch, tmp_path, caplog):
    lm = lm_of(provider)
    await lm.generate(request())
    for file in (tmp_path / "home" / "cache").glob("cache.db*"):
        file.write_bytes(b"no database" * 1000)
    other = lm_of(provider)
    answer = await other.generate(request())
    assert answer.text
    assert "cache" in caplog.text


async def test_answers_that_are_no_text_of_ours_in_the_cache_are_asked_for_again(provider):
    lm = lm_of(provider)
    await lm.generate(request())
    store = lm._cache._store._store
    for key in store.iterkeys():
        store.set(key, "{}")
    assert (await lm.generate(request())).usage.lm_calls == 1


def test_one_lm_serves_one_loop_after_another(provider):
    lm = lm_of(provider, cache=False)
    for number in range(3):
        asyncio.run(lm.generate(request(str(number))))
    assert provider.stats().answered == 3


@pytest.mark.slow
def test_no_connection_is_left_open_when_the_loop_ends_or_the_lm_is_dropped(provider, tmp_path):
    script = tmp_path / "ask.py"
    script.write_text(
        """
import asyncio, gc, sys
from dspex_core import LM, Predict, configure, using
ask, base = Predict("text -> answer"), sys.argv[1]
async def by_the_loop():
    with using(lm=LM("openai/m", api_base=base, cache=False)):
        await ask(text="a")
asyncio.run(by_the_loop())
with using(lm=LM("openai/m", api_base=base, cache=False)):
    ask.run(text="b")
configure(lm=LM("openai/m", api_base=base, cache=False))
asyncio.run(asyncio.wait_for(ask(text="c"), 10))
ask.run(text="d")
configure(lm=LM("openai/m", api_base=base, cache=False))
gc.collect()
print("done")
"""
    )
    command = [sys.executable, "-X", "dev", "-W", "always", "-W", "ignore:unclosed database", script, provider.base_url]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == "done\n"
    assert "Unclosed" not in ended.stderr
    assert "unclosed" not in ended.stderr


async def test_the_prompt_and_the_sampling_are_sent_as_asked(start_model):
    model = start_model(lambda _: written(team="bug"))
    await lm_of(model, temperature=0.3, max_tokens=7, model="openai/gpt-x").generate(request("hi"))
    body = model.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("gpt-x", 0.3, 7)
    assert body["messages"] == [{"role": "user", "content": "hi"}]


async def test_cost_is_the_list_price_and_unknown_for_a_model_without_one(start_model):
    model = start_model(lambda _: "hi")
    priced = await lm_of(model, model="openai/gpt-4o-mini").generate(request())
    unknown = await lm_of(model, model="openai/my-own").generate(request())
    assert priced.usage.cost_usd == pytest.approx(10 * 0.15e-6 + 2 * 0.6e-6)
    assert unknown.usage.cost_usd is None
    assert (priced.usage + unknown.usage).cost_usd is None


async def test_without_a_key_the_error_names_the_variable(provider, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    lm = lm_of(provider)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        await lm.generate(request())
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        lm.check()
    assert provider.stats().requests == 0


async def test_a_key_given_in_code_is_used_and_appears_nowhere(start_provider, monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY")
    provider = start_provider(api_key="sk-given-in-code")
    lm = lm_of(provider, api_key="sk-given-in-code")
    await lm.generate(request())
    assert provider.stats().answered == 1
    assert "sk-given" not in repr(lm) + lm.config.model_dump_json()
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert kept
    assert b"sk-given" not in kept


async def test_the_endpoint_comes_from_the_environment_and_is_recorded(provider, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    lm = LM(MODEL)
    await lm.generate(request())
    assert lm.config.api_base == provider.base_url
    assert provider.stats().answered == 1


@pytest.mark.parametrize(
    ("model", "options", "complaint"),
    [
        ("gpt-4o-mini", {}, "write provider/model"),
        ("openai/", {}, "write provider/model"),
        ("acme/gpt", {}, "providers: openai"),
        (MODEL, {"api_base": "https://user:secret@host/v1"}, "user name or password"),
        (MODEL, {"api_base": "localhost:8000"}, "http://"),
        (MODEL, {"temperature": -1}, "temperature"),
        (MODEL, {"concurrency": 0}, "concurrency"),
        (MODEL, {"timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_options_that_do_not_fit_are_named(model, options, complaint):
    with pytest.raises(ConfigurationError) as caught:
        LM(model, **options)
    assert complaint in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_configuration_gives_the_same_lm_again():
    config = LM(MODEL, api_base="http://h/v1/", temperature=0.5).config
    assert LM.from_config(LMConfig.model_validate_json(config.model_dump_json())).config == config
    assert config.api_base == "http://h/v1"
    assert "key" not in json.dumps(config.model_dump()) + os.environ["DSPEX_HOME"]


async def test_half_a_surrogate_pair_in_an_answer_is_replaced_so_that_it_can_be_written_down(start_model):
    call = '{"id": "1", "function": {"name": "f", "arguments": "{\\"x\\": \\"\\\\ud800\\"}"}}'
    body = f'{{"choices": [{{"message": {{"content": "odd \\ud83d text", "tool_calls": [{call}]}}}}]}}'
    model = start_model(lambda _: web.Response(text=body, content_type="application/json"))
    response = await lm_of(model).generate(LMRequest(messages=(Message(role="user", content="hi"),)))
    assert response.text == "odd ? text"
    assert response.tool_calls[0].args == {"x": "?"}
    assert LMResponse.model_validate_json(response.model_dump_json()).text == response.text


def test_an_unknown_option_is_named_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="unknown LM option 'temprature': did you mean 'temperature'"):
        LM("openai/fake", temprature=0.5)
    with pytest.raises(UnknownNameError, match="unknown LM option 'max_retries'"):
        LM("openai/fake", fallbacks=["openai/second"], max_retries=3)


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ({"stream": True}, "extra={'stream': …}: every call sets that itself"),
        ({"messages": []}, "extra={'messages': …}: every call sets that itself"),
        ({"temperature": 1}, "extra={'temperature': …}: that is an option of the LM itself: write temperature="),
    ],
)
def test_further_fields_that_would_spoil_every_call_are_refused_when_the_lm_is_made(extra, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        LM(MODEL, extra=extra)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"temperature": "hot"}, "temperature: .*, not 'hot'"),
        ({"max_tokens": 0}, "max_tokens: .*, not 0"),
        ({"price_per_million": (1, "x" * 100)}, "price_per_million.1: .*, not 'x{79} …$"),
    ],
)
def test_an_option_that_does_not_fit_is_shown(options, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        LM(MODEL, **options)


def test_a_further_field_that_does_not_fit_is_named_and_not_shown():
    with pytest.raises(ConfigurationError, match=r"extra\.header") as caught:
        LM(MODEL, extra={"header": b"secret"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("written", ["key-of-the-tests\n", "  key-of-the-tests\r\n"])
async def test_a_key_read_from_a_file_with_its_line_break_is_a_key(start_provider, monkeypatch, written):
    monkeypatch.setenv("OPENAI_API_KEY", written)
    provider = start_provider(api_key="key-of-the-tests")
    assert (await lm_of(provider).generate(request())).text
    assert (await lm_of(provider, api_key=written, cache=False).generate(request())).text


@pytest.mark.parametrize("given", ["sk-a-known\nkey", "sk-a-known✓key", 3])
async def test_what_is_no_key_is_refused_and_not_shown(provider, monkeypatch, given):
    with pytest.raises(ConfigurationError, match="api_key is no API key") as caught:
        LM(MODEL, api_key=given)
    assert "sk-a" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", str(given))
    if given != 3:
        with pytest.raises(ConfigurationError, match="OPENAI_API_KEY is no API key"):
            await lm_of(provider).generate(request())


@pytest.mark.parametrize("model", ["openai/x", "anthropic/x"])
@pytest.mark.parametrize("address", ["http://[::1/v1", "http:///v1", "http://h:99999/v1", "http://h/v1?key=1"])
def test_what_is_no_address_is_refused_when_the_lm_is_made(model, address):
    with pytest.raises(ConfigurationError, match=r"api_base .* is no address of an API: write http://HOST"):
        LM(model, api_base=address)


@pytest.mark.parametrize("option", ["timeout_seconds", "temperature", "requests_per_minute"])
def test_endless_numbers_are_refused(option):
    with pytest.raises(ConfigurationError, match=f"{option}: .*finite.*, not inf"):
        LM(MODEL, **{option: float("inf")})
