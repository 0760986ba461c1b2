import asyncio
import copy
import threading

import numpy as np
import pytest

from dspex_core import KNN, Example, Retrieve, using
from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.retrieval import Embedder
from dspex_core.runtime import InProcessRuntime
from dspex_core.seam import RetrieveRequest

WORDS = ("refund", "card", "parcel", "courier", "login")


def words(texts):
    return [[text.count(word) + 0.001 for word in WORDS] for text in texts]


def examples(*texts):
    return [Example(text=text, label=number).with_inputs("text") for number, text in enumerate(texts)]


TRAINSET = examples("my parcel and courier", "a refund to my card", "login", "parcel")


async def test_the_examples_whose_inputs_are_likest_come_first():
    nearest = KNN(k=2, trainset=TRAINSET, vectorizer=words)
    assert await nearest(text="where is the courier with my parcel") == [TRAINSET[0], TRAINSET[3]]
    assert await nearest(text="no refund on the card") == [
        TRAINSET[1],
        (await nearest(text="no refund on the card"))[1],
    ]
    assert (await nearest(text="login"))[0].input_names == ("text",)


async def test_an_embedder_with_its_model_does_as_well(provider):
    nearest = KNN(1, TRAINSET, Embedder("openai/fake-embedding", api_base=provider.base_url))
    assert await nearest(text="a refund to my card") == [TRAINSET[1]]


async def test_the_trainset_is_embedded_once_however_many_ask_at_once():
    batches = []

    async def counted(texts):
        batches.append(len(texts))
        await asyncio.sleep(0)
        return words(texts)

    nearest = KNN(1, TRAINSET, counted)
    found = await asyncio.gather(*(nearest(text="parcel") for _ in range(5)))
    assert found == [[TRAINSET[3]]] * 5
    assert sorted(batches) == [1] * 5 + [4]
    assert copy.deepcopy(nearest) is nearest


async def test_a_function_that_is_not_async_holds_up_no_loop():
    threads = set()

    def blocking(texts):
        threads.add(threading.current_thread())
        return np.array(words(texts))

    await KNN(1, TRAINSET, blocking)(text="login")
    assert threading.current_thread() not in threads


async def test_the_order_in_which_inputs_are_given_does_not_matter():
    seen = []

    def noting(texts):
        seen.extend(texts)
        return words(texts)

    trainset = [Example(a="parcel", b="card", c=1).with_inputs("a", "b")]
    nearest = KNN(1, trainset, noting)
    await nearest(b="card", a="parcel")
    assert seen == ["a: parcel | b: card"] * 2


async def test_it_is_a_retriever_whose_passages_hold_the_examples():
    nearest = KNN(3, TRAINSET, words)
    (found,) = await InProcessRuntime().retrieve(
        RetrieveRequest(query=KNN.query({"text": "login please"}), k=1, retriever=nearest)
    )
    assert found.metadata == {"row": 2, "inputs": ["text"], "example": {"text": "login", "label": 2}}
    with using(retriever=nearest):
        assert (await Retrieve(k=1)(query="text: login")).passages[0].id == "2"


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ((0, TRAINSET, words), ConfigurationError, "k=0"),
        ((1, [], words), DatasetError, "no examples"),
        ((1, [Example(a=1)], words), DatasetError, r"KNN, row 0: .*with_inputs"),
        ((1, TRAINSET, "words"), ConfigurationError, "the vectorizer is a str"),
    ],
)
def test_what_cannot_be_searched_is_refused_at_once(arguments, kind, said):
    with pytest.raises(kind, match=said):
        KNN(*arguments)
