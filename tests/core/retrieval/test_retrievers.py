import asyncio

import pytest

from dspex_core.errors import ProgramError, TrustError
from dspex_core.references import CodeReference, reference_to
from dspex_core.retrieval import Retrievers

MODULE = """
from dspex_core.seam import Passage

class Echo:
    made = 0

    def __init__(self):
        type(self).made += 1

    async def search(self, query, k):
        return [Passage(text=query)] * k

echo = Echo()
broken = 5

def search():
    return Echo()

def fails():
    raise ZeroDivisionError("a bug")

def wants(folder):
    return Echo()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "searching_app.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    import sys

    sys.modules.pop("searching_app", None)


@pytest.mark.parametrize("name", ["echo", "Echo", "search"])
async def test_an_object_a_class_or_a_function_gives_a_retriever_once(module, name):
    retrievers = Retrievers(trust=["searching_app"])
    reference = reference_to(f"searching_app:{name}", what="retriever")
    found = await asyncio.gather(*(retrievers.find(reference) for _ in range(5)))
    assert len({id(retriever) for retriever in found}) == 1
    assert [passage.text for passage in await found[0].search("hello", 2)] == ["hello", "hello"]


async def test_a_package_that_is_not_trusted_is_not_imported(module):
    with pytest.raises(TrustError, match="does not trust the package 'searching_app' that the retriever"):
        await Retrievers(trust=["other"]).find(CodeReference(path="searching_app:echo"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "gives a int, which is no retriever: it needs a method `async def search"),
        ("fails", "cannot be made: ZeroDivisionError: a bug"),
        ("wants", "must need no arguments"),
        ("missing", "cannot be imported"),
    ],
)
async def test_what_is_no_retriever_is_named(module, name, said):
    with pytest.raises(ProgramError, match=said):
        await Retrievers(trust=None).find(CodeReference(path=f"searching_app:{name}"))
