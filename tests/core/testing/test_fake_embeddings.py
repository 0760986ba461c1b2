import json

import numpy as np
import openai
import pytest

from dspex_core.testing.fake_provider import FakeProvider, FakeProviderProcess

TEXTS = ["The card was charged twice.", "Two charges on my card!", "A parcel lost by the courier."]


async def asked(http, provider, **body):
    headers = {"Content-Type": "application/json"}
    async with http.post(f"{provider.base_url}/embeddings", data=json.dumps(body), headers=headers) as answer:
        return answer.status, await answer.json()


def vectors_in(body):
    return np.array([entry["embedding"] for entry in body["data"]])


async def test_the_openai_sdk_reads_the_vectors_and_their_usage(provider):
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="key", max_retries=0) as client:
        packed = await client.embeddings.create(model="m", input=TEXTS)
        plain = await client.embeddings.create(model="m", input=TEXTS, encoding_format="float")
    assert [entry.index for entry in plain.data] == [0, 1, 2]
    assert plain.usage.prompt_tokens == sum(-(-len(text) // 4) for text in TEXTS)
    assert np.allclose([entry.embedding for entry in packed.data], [entry.embedding for entry in plain.data])


async def test_texts_with_words_in_common_lie_near_each_other_whatever_their_endings(provider, http):
    _, body = await asked(http, provider, model="m", input=TEXTS)
    charged, charges, parcel = vectors_in(body)
    assert np.allclose(np.linalg.norm(vectors_in(body), axis=1), 1)
    assert len(charged) == 256
    assert charged @ charges > 0.4
    assert abs(charged @ parcel) < 0.3


@pytest.mark.slow
async def test_equal_texts_have_equal_vectors_alone_and_in_a_batch_and_elsewhere(provider, http):
    _, batch = await asked(http, provider, model="m", input=TEXTS)
    _, alone = await asked(http, provider, model="other", input=TEXTS[1])
    assert (vectors_in(batch)[1] == vectors_in(alone)[0]).all()
    with FakeProviderProcess() as elsewhere:
        _, there = await asked(http, elsewhere, model="m", input=TEXTS)
    assert there["data"] == batch["data"]


async def test_every_text_has_a_direction_even_one_without_words(provider, http):
    _, body = await asked(http, provider, model="m", input=["the", "!?", "x"], dimensions=8)
    assert np.allclose(np.linalg.norm(vectors_in(body), axis=1), 1)
    assert vectors_in(body).shape == (3, 8)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"model": "m"}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": ["a", ""]}, "a text is empty"),
        ({"model": "m", "input": [1, 2]}, "input"),
        ({"model": "m", "input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a"}, "model"),
    ],
)
async def test_a_request_that_cannot_be_served_is_told_why(provider, http, body, named):
    status, answer = await asked(http, provider, **body)
    assert status == 400
    assert named in answer["error"]["message"]


async def test_embeddings_are_counted_refused_and_disturbed_as_chats_are(http):
    async with FakeProvider(fault_rate=1, fault_kinds="500") as provider:
        statuses = [(await asked(http, provider, model="m", input="a word"))[0] for _ in range(5)]
        stats = provider.stats()
    assert statuses == [500, 500, 500, 200, 500]
    assert (stats.requests, stats.answered, stats.distinct, stats.duplicates) == (5, 1, 1, 1)
    assert stats.faults == {"500": 4}
    assert stats.prompt_tokens == 2
