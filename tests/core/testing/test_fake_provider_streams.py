import asyncio
import json
from contextlib import aclosing

import openai
import pytest
from intent_prompts import ask, fields_of, prompt

from dspex_core.testing import FakeProvider


@pytest.fixture
async def client(provider):
    async with sdk_of(provider) as opened:
        yield opened


def sdk_of(provider):
    return openai.AsyncOpenAI(
        base_url=provider.base_url, api_key="key", max_retries=0, _strict_response_validation=True
    )


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def settled(count):
    """A count, once it has stayed the same for a thousand turns of the loop."""
    last, still = count(), 0
    while still < 1000:
        await asyncio.sleep(0)
        now = count()
        last, still = now, still + 1 if now == last else 0
    return last


async def test_the_openai_sdk_puts_the_pieces_together_to_the_answer_that_is_not_streamed(provider, client, http):
    body = prompt("my card is declined")
    stream = await client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    whole = await client.chat.completions.create(**body)

    first, *middle, last, usage = chunks
    assert first.choices[0].delta.role == "assistant"
    assert all(len(chunk.choices[0].delta.content) <= 8 for chunk in middle)
    assert "".join(chunk.choices[0].delta.content for chunk in middle) == whole.choices[0].message.content
    assert (last.choices[0].finish_reason, last.choices[0].delta.content) == ("stop", None)
    assert (usage.choices, usage.usage) == ([], whole.usage)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    assert fields_of(whole.choices[0].message.content) == await ask(http, provider, body)
    assert provider.stats().completion_tokens == 3 * whole.usage.completion_tokens


async def test_the_openai_sdks_own_stream_helper_reads_it(client):
    async with client.chat.completions.stream(**prompt("my card is declined")) as stream:
        kinds = {event.type async for event in stream}
        final = await stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content.endswith("[[ ## completed ## ]]")


async def test_a_stream_is_written_as_server_sent_events_that_end_with_done(provider, http):
    body = prompt("hello") | {"stream": True}
    async with http.post(f"{provider.base_url}/chat/completions", json=body) as response:
        assert response.content_type == "text/event-stream"
        *events, done, rest = (await response.text()).split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    parsed = [json.loads(event.removeprefix("data: ")) for event in events]
    assert {event["object"] for event in parsed} == {"chat.completion.chunk"}
    assert not any("usage" in event for event in parsed)


async def test_a_client_that_leaves_a_stream_is_counted_and_no_more_is_sent():
    async with FakeProvider(chunk_latency_ms=50, chunk_characters=1) as provider, sdk_of(provider) as client:
        stream = await client.chat.completions.create(**prompt("hello"), stream=True)
        async with aclosing(stream) as chunks:
            await anext(aiter(chunks))
        await stream.close()
        await until(lambda: provider.stats().cancelled)
        stats = provider.stats()
    assert (stats.streams, stats.cancelled, stats.answered, stats.in_flight) == (1, 1, 0, 0)
    assert 1 <= stats.chunks <= 3


async def test_a_client_that_reads_slowly_is_waited_for(http):
    script = [{"when": "much", "answer": "word " * 400_000}]
    async with FakeProvider(script=script, chunk_characters=100) as provider:
        body = prompt("much") | {"stream": True}
        async with http.post(f"{provider.base_url}/chat/completions", json=body) as response:
            await response.content.readline()
            sent = await settled(lambda: provider.stats().chunks)
            assert provider.stats().in_flight == 1
            assert sent < 20_000
            while await response.content.readany():
                pass
        await until(lambda: provider.stats().answered)
        assert provider.stats().chunks == 20_003


async def test_chunks_come_at_the_pace_that_was_set():
    async with FakeProvider(chunk_latency_ms=60_000) as provider, sdk_of(provider) as client:
        stream = await client.chat.completions.create(**prompt("hello"), stream=True)
        await anext(aiter(stream))
        assert provider.stats().chunks == 1
        await stream.close()
