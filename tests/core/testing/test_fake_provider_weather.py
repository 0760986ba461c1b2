"""What a fake provider does to its clients: faults in the middle of answers, limits, outages."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import anthropic
import openai
import pytest
from intent_prompts import post, prompt

from dspex_core.errors import ConfigurationError, UnknownNameError
from dspex_core.testing import FakeProvider, FakeProviderProcess
from dspex_core.testing.fake_provider._rate_limits import Bucket, RateLimits

TEXTS = [f"message {number}" for number in range(12)]


class Chat:
    """Streams of chat completions; each is a pair of the text and whether it ended as it should."""

    ENDED = "stop"

    async def stream(self, provider, text):
        sdk = openai.AsyncOpenAI(base_url=provider.base_url, api_key="key", max_retries=0, timeout=5)
        said, ended = "", None
        async with sdk:
            async for chunk in await sdk.chat.completions.create(**prompt(text), stream=True):
                said += chunk.choices[0].delta.content or ""
                ended = chunk.choices[0].finish_reason
        return said, ended


class Responses:
    ENDED = "response.completed"

    async def stream(self, provider, text):
        sdk = openai.AsyncOpenAI(base_url=provider.base_url, api_key="key", max_retries=0, timeout=5)
        said, ended = "", None
        async with sdk:
            async for event in await sdk.responses.create(model="m", input=prompt(text)["messages"], stream=True):
                said += event.delta if event.type == "response.output_text.delta" else ""
                ended = event.type
                if ended == "error":
                    raise openai.OpenAIError(event.message)
        return said, ended


class Messages:
    ENDED = "message_stop"

    async def stream(self, provider, text):
        sdk = anthropic.AsyncAnthropic(base_url=provider.root_url, api_key="key", max_retries=0, timeout=5)
        system, question = prompt(text)["messages"]
        body = {"model": "m", "max_tokens": 500, "system": system["content"], "messages": [question]}
        said, ended = "", None
        async with sdk:
            async for event in await sdk.messages.create(**body, stream=True):
                said += event.delta.text if event.type == "content_block_delta" else ""
                ended = event.type
        return said, ended


APIS = pytest.mark.parametrize("api", [Chat(), Responses(), Messages()], ids=["chat", "responses", "messages"])


async def endings(api, provider):
    """For each text, how its stream ended: an error's name, `whole` or `short`."""
    found = []
    for text in TEXTS:
        try:
            _, ended = await api.stream(provider, text)
        except Exception as error:  # noqa: BLE001 - whatever the SDK makes of it is what is looked at
            found.append(type(error).__name__)
        else:
            found.append("whole" if ended == api.ENDED else "short")
    return found


@APIS
async def test_a_stream_may_be_cut_in_its_middle_with_or_without_its_connection(api):
    async with FakeProvider(fault_rate=1, fault_kinds="cut") as provider:
        found = await endings(api, provider)
        stats = provider.stats()
    assert "whole" not in found
    assert "short" in found
    assert set(found) - {"short"}
    assert (stats.answered, stats.faults, stats.streams) == (0, {"cut": 12}, 12)
    assert stats.chunks >= 12


@APIS
async def test_a_stream_may_hold_an_event_that_is_no_json(api):
    async with FakeProvider(fault_rate=1, fault_kinds="malformed") as provider:
        found = await endings(api, provider)
        assert provider.stats().answered == 0
    assert set(found) == {"JSONDecodeError"}


@APIS
async def test_a_stream_may_end_with_an_error_event(api):
    async with FakeProvider(fault_rate=1, fault_kinds="error") as provider:
        found = await endings(api, provider)
        assert provider.stats().answered == 0
    assert set(found) <= {"APIError", "OpenAIError", "APIStatusError", "OverloadedError", "InternalServerError"}


@APIS
async def test_a_slow_stream_stalls_and_then_goes_on(api):
    async with FakeProvider() as clean, FakeProvider(fault_rate=1, fault_kinds="slow", slow_seconds=0.01) as provider:
        for text in TEXTS[:3]:
            assert await api.stream(provider, text) == await api.stream(clean, text)
        assert provider.stats().answered == 3
    async with FakeProvider(fault_rate=1, fault_kinds="slow", slow_seconds=60) as provider:
        waiting = asyncio.create_task(api.stream(provider, TEXTS[0]))
        await until(lambda: provider.stats().chunks)
        waiting.cancel()
        await until(lambda: provider.stats().cancelled)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.slow
async def test_faults_in_streams_are_the_same_in_every_run(http):
    runs = []
    for _ in range(2):
        async with FakeProvider(fault_rate=0.6, fault_kinds="cut,malformed,error", seed=1) as provider:
            runs.append(await endings(Chat(), provider))
    assert runs[0] == runs[1]
    assert "whole" in runs[0]


async def test_a_body_may_be_cut_in_its_middle(http):
    async with FakeProvider(fault_rate=1, fault_kinds="cut") as provider:
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(http, provider, prompt("hello"))
        assert provider.stats().answered == 0


async def test_an_error_event_needs_a_stream(http):
    async with FakeProvider(fault_rate=1, fault_kinds="error") as provider:
        assert (await post(http, provider, prompt("hello")))[0] == 200


async def test_an_overloaded_provider_answers_503_and_529_over_anthropics_api(http):
    async with FakeProvider(fault_rate=1, fault_kinds="overloaded") as provider:
        assert (await post(http, provider, prompt("hello")))[0] == 503
        with pytest.raises(anthropic.APIStatusError) as caught:
            await Messages().stream(provider, "hello")
    assert (caught.value.status_code, caught.value.type) == (529, "overloaded_error")


async def test_retry_after_may_be_a_date(http):
    settings = {"fault_rate": 1, "fault_kinds": "429", "retry_after_seconds": 90, "retry_after_format": "date"}
    async with FakeProvider(**settings) as provider:
        before = datetime.now(UTC).replace(microsecond=0)
        response = await http.post(f"{provider.base_url}/chat/completions", json=prompt("hello"))
    asked = parsedate_to_datetime(response.headers["Retry-After"])
    assert before + timedelta(seconds=90) <= asked <= datetime.now(UTC) + timedelta(seconds=91)


def test_a_bucket_refills_evenly_over_a_minute():
    bucket = Bucket(60)
    assert bucket.wait_seconds(60, now=100.0) == 0
    bucket.take(60)
    assert bucket.wait_seconds(3, now=101.0) == pytest.approx(2)
    assert bucket.remaining(110.0) == 10
    assert bucket.reset_seconds(110.0) == pytest.approx(50)
    assert bucket.wait_seconds(1000, now=160.0) == 0


def test_headers_tell_what_is_left_as_each_api_does():
    limits = RateLimits(120, 6000)
    assert limits.admit(3000, now=0.0) is None
    assert limits.admit(4000, now=0.0) == pytest.approx(10)
    assert dict(limits.openai_headers(0.0)) == {
        "x-ratelimit-limit-requests": "120",
        "x-ratelimit-remaining-requests": "119",
        "x-ratelimit-reset-requests": "500ms",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "3000",
        "x-ratelimit-reset-tokens": "30s",
    }
    told = dict(limits.anthropic_headers(0.0))
    assert told["anthropic-ratelimit-tokens-remaining"] == "3000"
    assert datetime.fromisoformat(told["anthropic-ratelimit-tokens-reset"]) > datetime.now(UTC)


async def test_more_requests_than_the_limit_get_429_and_the_time_to_wait(http):
    async with FakeProvider(requests_per_minute=2) as provider:
        url = f"{provider.base_url}/chat/completions"
        answers = [await http.post(url, json=prompt("hello")) for _ in range(3)]
        faults = provider.stats().faults
        told = await http.post(f"{provider.base_url}/messages", json={})
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "1"
    assert 0 < float(answers[2].headers["Retry-After"]) <= 30
    assert faults == {"rate limit": 1}
    assert told.headers["anthropic-ratelimit-requests-limit"] == "2"


async def test_tokens_are_limited_too(http):
    body = prompt("hello")
    size = len(json.dumps(body)) // 4
    async with FakeProvider(tokens_per_minute=int(1.5 * size)) as provider:
        assert [(await post(http, provider, body))[0] for _ in range(2)] == [200, 429]


async def test_settings_can_be_changed_while_it_runs(http):
    async with FakeProvider(latency_ms=60_000, capacity=1) as provider:
        held = [asyncio.create_task(post(http, provider, prompt("first")))]
        await until(lambda: provider.stats().in_flight == 1)
        assert (await post(http, provider, prompt("second")))[0] == 429
        async with http.post(f"{provider.root_url}/settings", json={"capacity": 2}) as response:
            assert (await response.json())["capacity"] == 2
        held.append(asyncio.create_task(post(http, provider, prompt("second"))))
        await until(lambda: provider.stats().in_flight == 2)
        provider.change(capacity=None, latency_ms=0, fault_rate=1, fault_kinds="500")
        assert (await post(http, provider, prompt("third")))[0] == 500
        for task in held:
            task.cancel()


@pytest.mark.parametrize(("outage", "met"), [("unavailable", 503), ("drop", aiohttp.ServerDisconnectedError)])
async def test_an_outage_begins_and_ends_on_demand(provider, http, outage, met):
    provider.change(outage=outage)
    if isinstance(met, int):
        assert (await post(http, provider, prompt("hello")))[0] == met
    else:
        with pytest.raises(met):
            await post(http, provider, prompt("hello"))
    assert provider.stats().faults["outage"] >= 1
    provider.change(outage=None)
    assert (await post(http, provider, prompt("hello")))[0] == 200


async def test_a_request_that_hangs_in_an_outage_is_answered_when_it_is_over(provider, http):
    provider.change(outage="hang")
    waiting = asyncio.create_task(post(http, provider, prompt("hello")))
    await until(lambda: provider.stats().in_flight)
    provider.change(latency_ms=1)
    assert not waiting.done()
    provider.change(outage=None)
    assert (await waiting)[0] == 200


async def test_a_change_that_cannot_be_made_is_refused_and_changes_nothing(provider, http):
    with pytest.raises(ConfigurationError, match=r"port.*these can be: latency_ms"):
        provider.change(port=1)
    with pytest.raises(ConfigurationError, match="capacity is 0"):
        provider.change(latency_ms=5, capacity=0)
    with pytest.raises(UnknownNameError, match="malformed"):
        provider.change(fault_kinds="malfromed")
    async with http.post(f"{provider.root_url}/settings", json={"outage": "storm"}) as response:
        assert response.status == 400
        assert "outage" in (await response.json())["error"]["message"]
    assert provider.latency_ms == 0


@pytest.mark.slow
async def test_a_provider_in_its_own_process_can_be_changed_too(http):
    with FakeProviderProcess(outage="unavailable", retry_after_format="date", structured_output=False) as provider:
        assert (await post(http, provider, prompt("hello")))[0] == 503
        provider.change(outage=None)
        assert (await post(http, provider, prompt("hello")))[0] == 200
        with pytest.raises(ConfigurationError, match="fault_rate is 2"):
            provider.change(fault_rate=2)
