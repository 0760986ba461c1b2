import json

import pytest

from dspex_core.errors import DatasetError, InputError, RetrievalError
from dspex_core.retrieval import BM25Index, Passage


async def test_the_passage_that_shares_the_rare_words_comes_first(cities):
    passages = await BM25Index(cities).search("Which capital is on the Tiber?", k=3)
    assert [passage.id for passage in passages] == ["rome", "oslo", "paris"]
    assert passages[0].text == cities[1]["text"]
    assert passages[0].metadata == {"country": "Italy"}
    assert passages[0].score > passages[1].score >= passages[2].score > 0


async def test_passages_that_share_no_word_are_not_found(cities):
    index = BM25Index(cities)
    assert [passage.id for passage in await index.search("pyramids", k=10)] == ["cairo"]
    assert await index.search("zeppelin", k=3) == []
    assert await index.search("what is the", k=3) == []
    assert await index.search("", k=3) == []


async def test_of_equal_passages_the_earlier_comes_first():
    index = BM25Index([f"same words {number}x" for number in range(50)])
    assert [passage.id for passage in await index.search("same words", k=5)] == ["0", "1", "2", "3", "4"]


async def test_a_saved_index_finds_the_same(cities, tmp_path):
    index = BM25Index(cities, k1=1.2, b=0.5)
    index.save(tmp_path / "index")
    loaded = BM25Index.load(tmp_path / "index")
    assert len(loaded) == 4
    for query in ("capital of Norway", "river", "nothing of it"):
        assert await loaded.search(query, k=3) == await index.search(query, k=3)


def test_a_saved_index_holds_no_pickle_and_can_be_replaced(cities, tmp_path):
    for count in (4, 2):
        BM25Index(cities[:count]).save(tmp_path / "index")
    assert len(BM25Index.load(tmp_path / "index")) == 2
    assert {file.suffix for file in (tmp_path / "index").iterdir()} == {".json", ".jsonl", ".npy"}
    assert [folder.name for folder in tmp_path.iterdir() if folder.name != "home"] == ["index"]


def test_a_folder_that_holds_something_else_is_left_alone(cities, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RetrievalError, match="something else than an index"):
        BM25Index(cities).save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_folder_without_an_index_is_named(tmp_path):
    with pytest.raises(RetrievalError, match=f"no index in {tmp_path}/none"):
        BM25Index.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dspex_index": 99}, "format 99; this DSPEx reads 1"),
        ({"kind": "embedding"}, "of the kind 'embedding', not 'bm25'"),
        ({"passages": 7}, "4 of 7 passages"),
    ],
)
def test_an_index_of_another_kind_or_version_or_size_is_refused(cities, tmp_path, change, said):
    BM25Index(cities).save(tmp_path / "index")
    facts = tmp_path / "index" / "index.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | change))
    with pytest.raises(RetrievalError, match=said):
        BM25Index.load(tmp_path / "index")


@pytest.mark.parametrize("file", ["index.json", "passages.jsonl", "data.csc.index.npy", "vocab.index.json"])
def test_a_damaged_file_is_an_error_that_names_the_folder(cities, tmp_path, file):
    BM25Index(cities).save(tmp_path / "index")
    (tmp_path / "index" / file).write_bytes(b"\x80\x04cut off")
    with pytest.raises(RetrievalError, match=f"index in {tmp_path}/index is damaged"):
        BM25Index.load(tmp_path / "index")


async def test_records_may_name_their_fields(cities):
    rows = [{"body": "a text on llamas", "number": 7}, {"body": "a text on alpacas", "number": 8}]
    (passage,) = await BM25Index(rows, text_field="body", id_field="number").search("alpacas", k=1)
    assert (passage.text, passage.id, passage.metadata) == ("a text on alpacas", "8", {})


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([], "at least one passage"),
        (["the", "of"], "no passage has a word"),
        ([{"text": "a"}, {"body": "b"}], "passage 1 has no text in 'text'; its fields are body"),
        ([Passage(text="a", id="x"), Passage(text="b", id="x")], "passages 0 and 1 have the same id 'x'"),
        ([{"text": "a word", "made": object()}], "passage 0: its metadata cannot be written as JSON"),
    ],
)
def test_sources_that_make_no_index_are_named(sources, said):
    with pytest.raises(DatasetError, match=said):
        BM25Index(sources)


async def test_at_least_one_passage_is_asked_for(cities):
    with pytest.raises(InputError, match="k is 0"):
        await BM25Index(cities).search("Rome", k=0)
