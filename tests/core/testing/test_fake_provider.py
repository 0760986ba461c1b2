import asyncio
import json
import subprocess
import sys

import aiohttp
import openai
import pytest
from intent_prompts import LABELS, ask, fields_of, post, prompt

from dspex_core.errors import ConfigurationError, UnknownNameError
from dspex_core.testing.fake_provider import FAULT_KINDS, FakeProvider, FakeProviderProcess


async def test_the_openai_sdk_reads_the_answer_and_its_usage(provider):
    body = prompt("my card is declined")
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="key", max_retries=0) as client:
        answer = await client.chat.completions.create(**body)
        names = [model.id async for model in client.models.list()]

    assert answer.object == "chat.completion"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.refusal is None
    assert fields_of(answer.choices[0].message.content)["label"] in LABELS
    assert answer.usage.prompt_tokens == sum(-(-len(message["content"]) // 4) for message in body["messages"])
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model in names


async def test_a_prompt_without_fields_gets_a_sentence_back(provider, http):
    body = {"model": "m", "messages": [{"role": "user", "content": "Say hello. And more."}]}
    status, raw = await post(http, provider, body)

    assert status == 200
    assert json.loads(raw)["choices"][0]["message"]["content"] == "Say hello."


@pytest.mark.parametrize(
    ("change", "named"),
    [({"stream_options": {}}, "stream"), ({"n": 2}, "`n`"), ({"messages": []}, "messages"), ({"model": None}, "model")],
)
async def test_what_is_not_served_is_refused_by_name(provider, http, change, named):
    status, raw = await post(http, provider, prompt("hello") | change)

    assert status == 400
    assert named in json.loads(raw)["error"]["message"]


async def test_a_request_without_the_right_key_gets_401():
    async with FakeProvider(api_key="right") as provider, aiohttp.ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            async with session.get(f"{provider.base_url}/models", headers=headers) as response:
                assert response.status == 401
                assert (await response.json())["error"]["type"] == "invalid_request_error"
        async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="right", max_retries=0) as client:
            assert await client.chat.completions.create(**prompt("hello"))


async def outcomes(http, provider, texts):
    """What each attempt met, until the answer."""
    met = {}
    for text in texts:
        met[text] = []
        while met[text][-1:] != ["answer"]:
            try:
                status, raw = await post(http, provider, prompt(text))
            except aiohttp.ClientError:
                met[text].append("drop")
                continue
            try:
                whole = status == 200 and bool(json.loads(raw)["choices"])
            except (ValueError, KeyError):
                whole = False
            met[text].append("answer" if whole else "malformed" if status == 200 else str(status))
    return met


@pytest.mark.slow
async def test_faults_are_the_same_in_every_run_whatever_the_order(http):
    texts = [f"message {number}" for number in range(60)]
    runs = []
    for order in (texts, texts[::-1]):
        async with FakeProvider(fault_rate=0.4, seed=3, slow_seconds=0.001) as provider:
            runs.append(await outcomes(http, provider, order))
            faults = provider.stats().faults
            provider.reset()
            assert await outcomes(http, provider, order) == runs[-1]

    assert runs[0] == runs[1]
    assert set(faults) == set(FAULT_KINDS) - {"error"}


async def test_at_most_three_faults_come_in_a_row(http):
    async with FakeProvider(fault_rate=1.0, fault_kinds=("500",)) as provider:
        met = await outcomes(http, provider, ["hello"])
        stats = provider.stats()

    assert met["hello"] == ["500", "500", "500", "answer"]
    assert (stats.requests, stats.answered, stats.distinct, stats.duplicates) == (4, 1, 1, 0)
    assert stats.faults == {"500": 3}


async def test_a_429_says_how_long_to_wait(http):
    async with FakeProvider(fault_rate=1.0, fault_kinds=("429",), retry_after_seconds=0.05) as provider:
        response = await http.post(f"{provider.base_url}/chat/completions", json=prompt("hello"))

    assert response.status == 429
    assert response.headers["Retry-After"] == "0.05"


async def in_flight(provider, count):
    async with asyncio.timeout(10):
        while provider.stats().in_flight != count:
            await asyncio.sleep(0)


async def test_a_full_provider_answers_429(http):
    async with FakeProvider(latency_ms=60_000, capacity=1) as provider:
        held = asyncio.create_task(post(http, provider, prompt("first")))
        await in_flight(provider, 1)
        status, _ = await post(http, provider, prompt("second"))
        held.cancel()

        assert status == 429
        assert provider.stats().faults == {"capacity": 1}
        assert provider.stats().max_in_flight == 1


async def test_a_client_that_goes_away_is_not_counted_as_answered(http):
    async with FakeProvider(latency_ms=60_000) as provider:
        leaving = asyncio.create_task(post(http, provider, prompt("hello")))
        await in_flight(provider, 1)
        leaving.cancel()
        await in_flight(provider, 0)

        assert provider.stats().requests == 1
        assert provider.stats().answered == 0


async def test_stats_tell_repeated_bodies_from_new_ones_and_reset_forgets_them(provider, http):
    for text in ("one", "two", "one"):
        await ask(http, provider, prompt(text))
    root = provider.base_url.removesuffix("/v1")
    async with http.get(f"{root}/stats") as response:
        stats = await response.json()
    async with http.post(f"{root}/reset") as response:
        assert (await response.json())["requests"] == 0

    assert (stats["requests"], stats["answered"], stats["distinct"], stats["duplicates"]) == (3, 3, 2, 1)
    assert stats["prompt_tokens"] > stats["completion_tokens"] > 0
    assert provider.stats().distinct == 0


def test_an_unknown_fault_kind_names_the_nearest():
    with pytest.raises(UnknownNameError, match="malformed"):
        FakeProvider(fault_kinds=("malfromed",))


@pytest.mark.parametrize("wrong", [{"fault_rate": 1.5}, {"latency_ms": -1}, {"capacity": 0}])
def test_a_setting_out_of_its_range_is_named(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        FakeProvider(**wrong)


async def test_a_taken_port_is_named_in_the_error(provider):
    taken = int(provider.base_url.split(":")[2].split("/")[0])
    with pytest.raises(ConfigurationError, match=str(taken)):
        await FakeProvider(port=taken).start()


@pytest.mark.slow
async def test_a_provider_in_its_own_process_answers_counts_and_ends_with_its_block(http):
    with FakeProviderProcess(api_key="key", fault_rate=1.0, fault_kinds=("500",)) as provider:
        assert (await outcomes(http, provider, ["hello"]))["hello"][-1] == "answer"
        assert provider.stats().faults == {"500": 3}
        provider.reset()
        assert provider.stats().requests == 0
        url = f"{provider.base_url}/models"
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(url)


@pytest.mark.slow
async def test_a_killed_provider_refuses_connections(http):
    provider = FakeProviderProcess()
    provider.start()
    provider.kill()
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(f"{provider.base_url}/models")


@pytest.mark.slow
async def test_the_process_ends_when_the_one_that_started_it_is_killed(http):
    script = (
        "import os, signal; from dspex_core.testing.fake_provider import FakeProviderProcess as P; p = P(); p.start();"
        "print(p.base_url, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    starter = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    # The provider inherits the pipe that is the starter's stderr, so `run` returned when both had ended.
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(f"{starter.stdout.strip()}/models")


@pytest.mark.slow
def test_sigterm_ends_the_process_in_order():
    command = [sys.executable, "-m", "dspex_core.testing.fake_provider", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
        process.terminate()
        assert process.wait(10) == 0
