from dspex_core.references import CodeReference
from dspex_core.requests import RunProgram, Search
from dspex_core.seam import LMConfig
from workflows._journal import Journal

INDEX, LM = CodeReference(path="shop_app:handbook"), LMConfig(model="openai/m")


def search(query):
    return Search(query=query, k=1, retriever=INDEX, lm=LM)


async def test_equal_calls_get_their_answers_in_the_order_in_which_they_were_given():
    key, other = (Journal.key("retrieve", search(query)) for query in ("a", "b"))
    first = Journal({})
    first.add(key, {"answer": 1})
    first.add(other, {"answer": 2})
    first.add(key, {"answer": 3})
    assert first.added == 3
    second = Journal(first.entries)
    assert second.added == 0
    assert [(await second.next_answer(found))["answer"] for found in (other, key, key)] == [2, 1, 3]
    assert not second.knows(key)
    assert Journal(second.entries).knows(key), "a leg after the next one needs them again"


def test_what_only_says_how_a_call_is_made_is_no_part_of_it():
    structure = {"kind": "imported", "code": {"path": "shop_app:router"}}
    plain = RunProgram(program={"structure": structure, "state": {"predictors": {}}}, lm=LM, inputs={})
    assert Journal.key("p", plain) == Journal.key("p", plain.model_copy(update={"allowance": {"usd": 1.0}}))
    assert Journal.key("p", plain) != Journal.key("p", plain.model_copy(update={"inputs": {"text": "a"}}))
