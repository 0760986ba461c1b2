import numpy as np
import pytest

from dspex_core.errors import RetrievalError
from dspex_core.retrieval import Embedder, EmbeddingIndex, Passage


class Compass:
    """An embedder of one's own: it knows directions only."""

    async def embed(self, texts):
        ways = {"north": (0, 2), "east": (3, 0), "south": (0, -1), "northeast": (1, 1), "nowhere": (0, 0)}
        return np.array([ways[text] for text in texts], dtype=np.float32)


async def test_the_likest_passage_comes_first(cities, embedder):
    index = await EmbeddingIndex.build(cities, embedder)
    passages = await index.search("the pyramids on the Nile", k=2)
    assert passages[0].id == "cairo"
    assert passages[0].metadata == {"country": "Egypt"}
    assert 1 >= passages[0].score > passages[1].score
    assert len(await index.search("capital", k=10)) == len(index) == 4


async def test_scores_are_cosines_whatever_the_vectors_lengths():
    index = await EmbeddingIndex.build(["north", "east", "south", "nowhere"], Compass())
    found = [(passage.text, round(passage.score, 3)) for passage in await index.search("northeast", k=4)]
    assert found == [("north", 0.707), ("east", 0.707), ("nowhere", 0.0), ("south", -0.707)]


async def test_a_saved_index_finds_the_same_with_its_own_model(cities, embedder, tmp_path, provider):
    index = await EmbeddingIndex.build(cities, embedder)
    index.save(tmp_path / "index")
    loaded = EmbeddingIndex.load(tmp_path / "index")
    assert await loaded.search("river Seine", k=4) == await index.search("river Seine", k=4)
    assert {file.suffix for file in (tmp_path / "index").iterdir()} == {".json", ".jsonl", ".npy"}


async def test_a_saved_index_never_holds_the_key(cities, provider, tmp_path):
    embedder = Embedder("openai/m", api_base=provider.base_url, api_key="sk-secret-of-this-test")
    (await EmbeddingIndex.build(cities, embedder)).save(tmp_path / "index")
    assert not [file for file in (tmp_path / "index").iterdir() if b"sk-secret" in file.read_bytes()]


async def test_an_embedder_of_ones_own_is_passed_to_load(tmp_path):
    (await EmbeddingIndex.build(["north", "south"], Compass())).save(tmp_path / "index")
    with pytest.raises(RetrievalError, match="pass it to load"):
        EmbeddingIndex.load(tmp_path / "index")
    loaded = EmbeddingIndex.load(tmp_path / "index", Compass())
    assert (await loaded.search("northeast", k=1))[0].text == "north"


async def test_an_embedder_of_another_model_is_found_out(cities, embedder, provider, tmp_path):
    (await EmbeddingIndex.build(cities, embedder)).save(tmp_path / "index")
    other = Embedder("openai/fake-embedding", api_base=provider.base_url, dimensions=8)
    with pytest.raises(RetrievalError, match="vectors of 256 dimensions, the embedder gives 8"):
        await EmbeddingIndex.load(tmp_path / "index", other).search("Rome", k=1)


async def test_vectors_that_are_no_plain_array_are_refused(cities, embedder, tmp_path):
    (await EmbeddingIndex.build(cities, embedder)).save(tmp_path / "index")
    np.save(tmp_path / "index" / "vectors.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(RetrievalError, match="is damaged"):
        EmbeddingIndex.load(tmp_path / "index")


def test_every_passage_needs_a_vector():
    with pytest.raises(RetrievalError, match="1 passages cannot have vectors of shape"):
        EmbeddingIndex([Passage(text="a")], np.zeros((2, 3), dtype=np.float32), Compass())
