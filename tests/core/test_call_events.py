"""Events of single calls: which are told of, how they are linked, and what they say."""

import asyncio
import json
from contextlib import suppress

import pytest
from model_servers import asked, lm_of, written
from pydantic import TypeAdapter

from dspex_core import Module, Predict, Prediction, ReAct, Retrieve, events, using
from dspex_core.errors import LMError
from dspex_core.retrieval import BM25Index


class Outer(Module):
    def __init__(self):
        self.inner = Predict("text -> said")

    async def forward(self, text):
        return await self.inner(text=text)


class Plain(Outer):
    def forward(self, text):
        return self.inner.run(text=text)


@pytest.fixture
def model(start_model):
    return start_model(lambda messages: written(said=asked(messages)["text"].upper()))


async def told(work, **options):
    with events.subscribe(**options) as stream, suppress(Exception):
        await work
    return [event async for event in stream]


@pytest.mark.parametrize("kind", [Outer, Plain])
async def test_a_call_is_told_of_with_the_calls_within_it(model, kind):
    with using(lm=lm_of(model)):
        found = await told(kind()(text="a"))
    outer, inner, lm, lm_end, inner_end, outer_end = found
    assert [event.type for event in found] == [
        "module_start", "module_start", "lm_start", "lm_end", "module_end", "module_end",
    ]  # fmt: skip
    assert (outer.module, inner.module) == (kind.__name__, "Predict")
    assert outer.parent_id is None
    assert (inner.parent_id, lm.parent_id) == (outer.call_id, inner.call_id)
    assert (lm_end.call_id, inner_end.call_id, outer_end.call_id) == (lm.call_id, inner.call_id, outer.call_id)
    assert len({outer.call_id, inner.call_id, lm.call_id}) == 3
    assert (outer.inputs, outer_end.outputs, outer_end.usage.lm_calls) == ({"text": "a"}, {"said": "A"}, 1)
    assert lm.model == lm_end.model == "openai/fake-learner"
    assert lm.messages[-1]["role"] == "user"
    assert "a" in lm.messages[-1]["content"]
    assert "A" in lm_end.text
    assert not lm_end.cached
    assert all(event.seconds >= 0 and event.error is None for event in (lm_end, inner_end, outer_end))


async def test_an_answer_from_the_cache_is_told_as_such(model):
    with using(lm=lm_of(model)):
        await Outer()(text="a")
        found = await told(Outer()(text="a"), types={"lm_end"})
    assert [(event.cached, event.usage.cached_calls) for event in found] == [(True, 1)]


async def test_a_streamed_answer_is_told_of_too(start_provider):
    async def read():
        async for _ in Predict("text -> said").stream(text="a"):
            pass

    with using(lm=lm_of(start_provider())):
        found = await told(read())
    assert [event.type for event in found] == ["module_start", "lm_start", "lm_end", "module_end"]
    assert found[2].usage.lm_calls == 1


async def test_calls_at_the_same_time_each_have_their_own_parent(model):
    with using(lm=lm_of(model)):
        found = await told(Outer().batch([{"text": text} for text in "abcdef"]))
    starts = {event.call_id: event for event in found if event.type.endswith("start")}
    for event in starts.values():
        if event.type == "lm_start":
            inner = starts[event.parent_id]
            assert inner.inputs["text"] in event.messages[-1]["content"]
            assert starts[inner.parent_id].inputs == inner.inputs


async def test_failures_are_told_with_what_went_wrong_and_without_keys(start_provider):
    with using(lm=lm_of(start_provider(api_key="another"))):
        found = await told(Outer()(text="key-of-the-tests"), types={"lm_end", "module_end"})
    assert [event.type for event in found] == ["lm_end", "module_end", "module_end"]
    assert {event.error.partition(":")[0] for event in found} == {"LMAuthenticationError"}
    with using(lm=lm_of(start_provider(api_key="another"))), pytest.raises(LMError):
        await Outer()(text="x")

    class Failing(Module):
        async def forward(self, text):
            raise ValueError(f"cannot read {text}")

    (ended,) = await told(Failing()(text="key-of-the-tests"), types={"module_end"})
    assert ended.error == "ValueError: cannot read [key]"


async def test_a_search_and_a_tool_are_told_of_within_their_modules(start_model):
    async def weigh(text: str) -> str:
        """Weigh it."""
        return (await Predict("text -> said")(text=text)).said

    answers = iter(
        [
            written(next_thought="hm", next_tool_name="weigh", next_tool_args=json.dumps({"text": "x"})),
            written(said="heavy"),
            written(next_thought="so", next_tool_name="finish", next_tool_args="{}"),
            written(reasoning="r", answer="heavy"),
        ]
    )
    program = Retrieve(k=1) | ReAct("context: list[str], query -> answer", tools=[weigh])
    index = BM25Index([{"id": "stone", "text": "a stone is heavy"}, "a feather is light"])
    with using(lm=lm_of(start_model(lambda _: next(answers))), retriever=index):
        found = await told(program(query="stone"))
    by_type = {event.type: event for event in found}
    names = {event.call_id: event.module for event in found if event.type == "module_start"}
    search, called, finished = by_type["retrieval_start"], by_type["tool_called"], by_type["tool_finished"]
    assert (search.retriever, search.query, search.k, names[search.parent_id]) == ("BM25Index", "stone", 1, "Retrieve")
    assert [(one["id"], one["text"]) for one in by_type["retrieval_end"].passages] == [("stone", "a stone is heavy")]
    assert (called.tool, called.args, names[called.parent_id]) == ("weigh", {"text": "x"}, "ReAct")
    assert (finished.text, finished.failed, finished.call_id) == ("heavy", False, called.call_id)
    (within,) = [event for event in found if event.type == "module_start" and event.parent_id == called.call_id]
    assert within.inputs == {"text": "x"}
    adapter = TypeAdapter(events.Event)
    assert [adapter.validate_json(event.model_dump_json()) for event in found] == found


async def test_values_that_are_no_json_are_told_as_far_as_they_can_be():
    class Odd:
        def __str__(self):
            raise ValueError("no text")

    class Taking(Module):
        async def forward(self, **inputs):
            return Prediction(inputs)

    ring = {}
    ring["ring"] = ring
    inputs = {"odd": Odd(), "raw": b"\xff", "ring": ring, "event": asyncio.Event}
    start, end = await told(Taking()(**inputs))
    assert start.inputs.keys() == end.outputs.keys() == inputs.keys()
    assert start.inputs["odd"] == "<Odd>"
    start.model_dump_json()


async def test_a_cancelled_call_is_told_to_have_ended():
    class Endless(Module):
        async def forward(self):
            await asyncio.Event().wait()

    with events.subscribe() as stream:
        running = asyncio.create_task(Endless()())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert [(event.type, getattr(event, "error", None)) async for event in stream] == [
        ("module_start", None), ("module_end", "CancelledError"),
    ]  # fmt: skip
