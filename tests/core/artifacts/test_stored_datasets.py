from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_core import Example
from dspex_core.artifacts import ArtifactStore, DatasetReader, store_dataset
from dspex_core.errors import DatasetError, InputError


@pytest.fixture
def store(tmp_path):
    return ArtifactStore((tmp_path / "store").as_uri())


def rows(count, **extra):
    return [Example(text=f"text {number}", team=number, **extra).with_inputs("text") for number in range(count)]


async def read(store, dataset, indices):
    return (await DatasetReader(store).read(dataset, indices)).examples()


async def test_rows_come_back_in_the_order_asked_for_and_know_their_inputs(store):
    examples = rows(1203)
    dataset = await store_dataset(store, examples)
    assert len(dataset) == 1203
    found = await read(store, dataset, [1202, 0, 500, 499, 0])
    assert found == [examples[index] for index in (1202, 0, 500, 499, 0)]
    assert found[0].inputs() == {"text": "text 1202"}
    assert await read(store, dataset, range(1203)) == examples


async def test_a_reader_of_a_few_rows_reads_their_blocks_only(store, tmp_path):
    dataset = await store_dataset(store, rows(2000))
    reader = DatasetReader(store)
    await reader.read(dataset, [0])
    kept = [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.name not in reader._kept]
    for path in kept:
        path.unlink()
    assert len(kept) == 3
    assert len((await reader.read(dataset, range(500))).rows) == 500


async def test_big_rows_make_more_blocks(store, tmp_path):
    examples = rows(10, body="x" * 300_000)
    dataset = await store_dataset(store, examples)
    assert await read(store, dataset, range(10)) == examples
    sizes = [path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert max(sizes) < 1_300_000


async def test_the_same_rows_have_the_same_digest_and_others_another(store):
    assert await store_dataset(store, rows(3)) == await store_dataset(store, rows(3))
    assert (await store_dataset(store, rows(4))).digest != (await store_dataset(store, rows(3))).digest
    other = [Example(row).with_inputs("text", "team") for row in rows(3)]
    assert (await store_dataset(store, other)).digest != (await store_dataset(store, rows(3))).digest


async def test_values_come_back_as_json_has_them(store):
    dataset = await store_dataset(store, [Example(q="é\u2028", when=date(2024, 1, 2), tags=("a",)).with_inputs("q")])
    assert (await read(store, dataset, [0]))[0].to_dict() == {"q": "é\u2028", "when": "2024-01-02", "tags": ["a"]}


async def test_a_row_that_is_not_there_is_named(store):
    dataset = await store_dataset(store, rows(3))
    with pytest.raises(DatasetError, match="row 3 is not in the data set of 3 rows"):
        await read(store, dataset, [3])


@pytest.mark.parametrize(
    ("examples", "complaint"),
    [
        ([], "no rows"),
        ([*rows(2), Example(text="a", team=1).with_inputs("team")], "row 2: its inputs are team, the first row's text"),
        ([*rows(1), Example(text=object(), team=1).with_inputs("text")], "row 1 cannot be stored as JSON"),
        ([Example(text="a")], "with_inputs"),
    ],
)
async def test_rows_that_cannot_be_kept_are_named(store, examples, complaint):
    with pytest.raises(InputError, match=complaint):
        await store_dataset(store, examples)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.lists(JSON, min_size=1, max_size=5))
async def test_any_json_survives(tmp_path_factory, values):
    store = ArtifactStore(tmp_path_factory.mktemp("any").as_uri())
    examples = [Example(value=value).with_inputs("value") for value in values]
    assert await read(store, await store_dataset(store, examples), range(len(values))) == examples
