import asyncio

import numpy as np
import pytest
from aiohttp import web

from dspex_core.errors import (
    ConfigurationError,
    LMAuthenticationError,
    LMError,
    LMMalformedResponseError,
    LMUnavailableError,
)
from dspex_core.retrieval import Embedder
from dspex_core.seam import calling, metered

TEXTS = [f"text number {number} of many" for number in range(25)]


def embedder_of(server, **options):
    return Embedder("openai/fake-embedding", api_base=server.base_url, **options)


async def test_every_text_has_a_vector_of_its_own_in_order(embedder):
    vectors = await embedder.embed(["a red apple", "a red apple", "a blue whale"])
    assert vectors.shape == (3, 256)
    assert vectors.dtype == np.float32
    assert (vectors[0] == vectors[1]).all()
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


async def test_no_text_needs_no_call(embedder, provider):
    assert len(await embedder.embed([])) == 0
    assert provider.stats().requests == 0


@pytest.mark.slow
async def test_texts_go_in_batches_and_each_text_once(provider):
    embedder = embedder_of(provider, batch_size=10)
    one_by_one = [(await embedder_of(provider, cache=False).embed([text]))[0] for text in TEXTS]
    provider.reset()
    vectors = await embedder.embed([*TEXTS, *TEXTS])
    assert provider.stats().requests == 3
    assert (vectors == np.stack([*one_by_one, *one_by_one])).all()


async def test_known_texts_come_from_the_cache_and_cost_nothing(provider):
    with metered() as first:
        before = await embedder_of(provider).embed(TEXTS)
    assert first.usage.prompt_tokens > 0
    assert first.usage.lm_calls == 0
    with metered() as second:
        after = await embedder_of(provider).embed([*TEXTS, "one more"])
    assert (after[:-1] == before).all()
    assert 0 < second.usage.prompt_tokens < 5
    assert provider.stats().requests == 2


@pytest.mark.parametrize("options", [{"dimensions": 64}, {"cache": False}])
async def test_other_vectors_are_asked_for_anew(provider, options):
    await embedder_of(provider).embed(["a text"])
    vectors = await embedder_of(provider, **options).embed(["a text"])
    assert vectors.shape[1] == options.get("dimensions", 256)
    assert provider.stats().requests == 2


@pytest.mark.parametrize("kind", ["429", "500", "drop", "malformed"])
async def test_faults_that_pass_are_tried_again_until_the_vectors_come(start_provider, short_waits, kind):
    provider = start_provider(fault_rate=0.4, fault_kinds=kind, retry_after_seconds=0)
    vectors = await embedder_of(provider, batch_size=1).embed(TEXTS)
    assert len(vectors) == 25
    assert provider.stats().faults[kind] > 0
    assert provider.stats().requests == 25 + provider.stats().faults[kind]


async def test_what_succeeded_before_a_failure_is_kept(start_provider):
    provider = start_provider(latency_ms=5)
    embedder = embedder_of(provider, batch_size=1, concurrency=1)
    with pytest.raises(LMError, match="a text is empty"):
        await embedder.embed(["first", "", "third"])
    assert provider.stats().answered == 2
    await embedder.embed(["first", "third"])
    assert provider.stats().answered == 2


async def test_no_more_calls_are_in_flight_than_the_limit(start_provider):
    provider = start_provider(latency_ms=20)
    await embedder_of(provider, batch_size=1, concurrency=3).embed(TEXTS[:9])
    assert provider.stats().max_in_flight == 3


async def test_embedders_of_one_model_share_the_limit_whatever_loop_they_are_on(start_provider):
    provider = start_provider(latency_ms=50)

    def embedded(part):
        return asyncio.run(embedder_of(provider, batch_size=1, concurrency=2).embed(TEXTS[5 * part : 5 * part + 5]))

    await asyncio.gather(*(asyncio.to_thread(embedded, part) for part in range(3)))
    assert (provider.stats().answered, provider.stats().max_in_flight) == (15, 2)


async def test_one_caller_with_many_texts_does_not_hold_up_another():
    order, begun, go = [], asyncio.Event(), asyncio.Event()

    async def answer(request):
        body = await request.json()
        order.extend(body["input"])
        begun.set()
        await go.wait()
        return web.json_response({"data": [{"index": 0, "embedding": [1.0, 2.0]}], "usage": {"prompt_tokens": 1}})

    async def of_a_caller(texts):
        with calling():
            await embedder.embed(texts)

    async with embedding_server(answer) as base_url:
        embedder = Embedder("openai/fake-embedding", api_base=base_url, batch_size=1, concurrency=1, cache=False)
        many = asyncio.create_task(of_a_caller(TEXTS))
        await begun.wait()
        alone = asyncio.create_task(of_a_caller(["alone"]))
        # It queues up without waiting for anything outside this loop.
        for _ in range(10):
            await asyncio.sleep(0)
        go.set()
        await asyncio.gather(many, alone)
        assert order.index("alone") <= 2
        await embedder.close()


async def test_a_provider_that_is_down_is_left_alone(short_waits):
    requests = []

    async def answer(request):
        requests.append(request)
        return web.json_response({"error": {"message": "down"}}, status=503)

    async with embedding_server(answer) as base_url:
        embedder = Embedder("openai/fake-embedding", api_base=base_url)
        with pytest.raises(LMError, match="down"):
            await embedder.embed(["hello"])
        asked = len(requests)
        with pytest.raises(LMUnavailableError):
            await embedder.embed(["hello"])
        assert len(requests) == asked == 10
        await embedder.close()


async def test_a_rejected_key_is_said_at_once_and_never_shown(start_provider):
    provider = start_provider(api_key="right-key")
    with pytest.raises(LMAuthenticationError, match="rejected") as caught:
        await embedder_of(provider, api_key="wrong-secret-key").embed(["a"])
    assert "wrong-secret-key" not in str(caught.value)
    assert provider.stats().requests == 1


async def test_without_a_key_nothing_is_sent(embedder, monkeypatch, provider):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        await embedder.embed(["a"])
    assert provider.stats().requests == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"data": []},
        {"data": [{"index": 0, "embedding": "AAAA"}]},
        {"data": [{"index": 0, "embedding": []}]},
        {"data": [{"index": 0, "embedding": [1.0, None]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]},
    ],
    ids=str,
)
async def test_a_body_that_holds_no_vectors_is_tried_again_and_then_named(background, short_waits, body):
    async def answer(_):
        return web.json_response(body)

    async with embedding_server(answer) as base_url:
        with pytest.raises(LMMalformedResponseError, match=r"fake-embedding: (an answer without )?embeddings"):
            await Embedder("openai/fake-embedding", api_base=base_url).embed(["a"])


class embedding_server:  # noqa: N801 - used as a function
    def __init__(self, answer):
        self._answer = answer

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/embeddings", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def __aexit__(self, *_):
        await self._runner.cleanup()


def test_one_embedder_serves_one_loop_after_another(provider):
    embedder = embedder_of(provider, cache=False)
    for text in ("a", "b"):
        assert len(asyncio.run(embedder.embed([text]))) == 1


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"dimensions": 0}, {"concurrency": 0}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigurationError):
        Embedder("openai/m", **options)
