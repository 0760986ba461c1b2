import asyncio
import gc
import json
import warnings
from contextlib import aclosing

import pytest
from aiohttp import web
from model_servers import lm_of

from dspex_core import (
    ChainOfThought,
    ChatAdapter,
    JSONAdapter,
    Module,
    Predict,
    Prediction,
    StreamedPiece,
    XMLAdapter,
    using,
)
from dspex_core.errors import AdapterParseError, LMConnectionError, LMRequestError

SIGNATURE = "question -> answer"
ANSWER = {
    "reasoning": "It scatters short waves the most.\n\nSo: [1] blue, {not} <red>.",
    "answer": "Rayleigh scattering",
}


def scripted(**fields):
    return [{"when": "sky", "answer": fields}]


async def read(stream):
    items = [item async for item in stream]
    return items[:-1], items[-1]


def joined(pieces):
    found = {}
    for piece in pieces:
        found[piece.predictor, piece.field] = found.get((piece.predictor, piece.field), "") + piece.text
    return found


@pytest.mark.parametrize("adapter", [ChatAdapter(), JSONAdapter(), XMLAdapter()])
async def test_pieces_of_each_field_arrive_and_then_the_prediction(start_provider, adapter):
    provider = start_provider(script=scripted(**ANSWER), chunk_characters=3)
    with using(lm=lm_of(provider), adapter=adapter):
        pieces, prediction = await read(ChainOfThought(SIGNATURE).stream(question="Why is the sky blue?"))
    assert isinstance(prediction, Prediction)
    assert prediction.to_dict() == ANSWER
    assert joined(pieces) == {("predict", name): text for name, text in ANSWER.items()}
    assert len(pieces) > 10
    stats = provider.stats()
    assert (prediction.usage.prompt_tokens, prediction.usage.completion_tokens) == (
        stats.prompt_tokens,
        stats.completion_tokens,
    )


async def test_the_first_piece_is_there_while_the_model_still_writes(start_provider):
    provider = start_provider(script=scripted(answer="word " * 2000), chunk_latency_ms=1)
    with using(lm=lm_of(provider)):
        async with aclosing(Predict(SIGNATURE).stream(question="sky?")) as stream:
            first = await anext(stream)
            assert isinstance(first, StreamedPiece)
            assert (first.predictor, first.field, first.attempt) == ("self", "answer", 0)
            assert provider.stats().answered == 0


async def test_leaving_early_closes_the_connection(start_provider):
    provider = start_provider(script=scripted(answer="word " * 20_000), chunk_latency_ms=1)
    with using(lm=lm_of(provider)):
        async with aclosing(Predict(SIGNATURE).stream(question="sky?")) as stream:
            await anext(stream)
        while provider.stats().cancelled == 0:
            await asyncio.sleep(0.01)
    assert provider.stats().answered == 0


async def test_cancelling_the_reader_closes_the_connection_too(start_provider):
    provider = start_provider(script=scripted(answer="word " * 20_000), chunk_latency_ms=1)
    begun = asyncio.Event()

    async def reader():
        async for _ in Predict(SIGNATURE).stream(question="sky?"):
            begun.set()

    with using(lm=lm_of(provider)):
        task = asyncio.create_task(reader())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while provider.stats().cancelled == 0:
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_slow_reader_slows_the_reading(start_provider):
    provider = start_provider(script=scripted(answer="word " * 400_000), chunk_characters=2000)
    with using(lm=lm_of(provider)):
        async with aclosing(Predict(SIGNATURE).stream(question="sky?")) as stream:
            await anext(stream)
            sent, quiet = -1, 0
            # Nothing is read: what is sent fills the buffers on the way and then stands still.
            while quiet < 20:
                await asyncio.sleep(0.01)
                now = provider.stats().chunks
                quiet, sent = (quiet + 1 if now == sent else 0), now
            assert provider.stats().answered == 0
            assert sent < 1000


async def test_every_predictor_of_a_program_is_named(start_provider):
    class Twice(Module):
        def __init__(self):
            self.first = Predict("question -> idea")
            self.second = ChainOfThought("question, idea -> answer")

        async def forward(self, question):
            idea = (await self.first(question=question)).idea
            return await self.second(question=question, idea=idea)

    script = [{"when": "Answer with `[[ ## idea", "answer": {"idea": "light"}}, *scripted(**ANSWER)]
    provider = start_provider(script=script)
    with using(lm=lm_of(provider)):
        pieces, prediction = await read(Twice().stream(question="sky?"))
    assert prediction.answer == ANSWER["answer"]
    assert joined(pieces)["first", "idea"] == "light"
    assert joined(pieces)["second.predict", "answer"] == ANSWER["answer"]


async def test_a_known_answer_is_streamed_without_a_call(start_provider):
    provider = start_provider(script=scripted(answer="blue"))
    with using(lm=lm_of(provider)):
        _, first = await read(Predict(SIGNATURE).stream(question="sky?"))
        pieces, second = await read(Predict(SIGNATURE).stream(question="sky?"))
        third = await Predict(SIGNATURE)(question="sky?")
    assert first.answer == second.answer == third.answer == "blue"
    assert joined(pieces) == {("self", "answer"): "blue"}
    assert (second.usage.lm_calls, second.usage.cached_calls, third.usage.cached_calls) == (0, 1, 1)
    assert provider.stats().requests == 1


async def test_pieces_after_an_unreadable_answer_are_of_another_attempt(start_provider):
    script = [{"when": "cannot be read", "answer": {"count": "3"}}, {"when": "sky", "answer": {"count": "three"}}]
    provider = start_provider(script=script)
    with using(lm=lm_of(provider)):
        pieces, prediction = await read(Predict("question -> count: int").stream(question="sky?"))
    assert prediction.count == 3
    assert {piece.attempt: piece.text for piece in pieces} == {0: "three", 1: "3"}


async def test_what_the_program_raises_is_raised_where_the_stream_is_read(start_provider):
    provider = start_provider(script=[{"when": "", "answer": {"count": "many"}}])
    with using(lm=lm_of(provider)), pytest.raises(AdapterParseError, match="output field 'count'"):
        await read(Predict("question -> count: int").stream(question="sky?"))


async def test_a_call_that_cannot_be_made_raises_as_without_streaming(start_model):
    model = start_model(lambda _: web.json_response({"error": {"message": "no such parameter"}}, status=400))
    with using(lm=lm_of(model)), pytest.raises(LMRequestError, match="no such parameter"):
        await read(Predict(SIGNATURE).stream(question="sky?"))


@pytest.mark.slow
async def test_a_fault_before_the_first_piece_is_tried_again(start_provider):
    provider = start_provider(
        script=scripted(answer="blue"), fault_rate=0.5, fault_kinds="500", seed=3, retry_after_seconds=0
    )
    with using(lm=lm_of(provider, cache=False)):
        for number in range(6):
            _, prediction = await read(Predict(SIGNATURE).stream(question=f"sky {number}?"))
            assert prediction.answer == "blue"
    assert provider.stats().requests > 6


async def test_a_stream_that_ends_before_the_answer_does_is_no_answer(start_model):
    chunk = {"choices": [{"index": 0, "delta": {"content": "[[ ## answer ## ]]\nblu"}}]}
    model = start_model(lambda _: web.Response(text=f"data: {json.dumps(chunk)}\n\n", content_type="text/event-stream"))
    with using(lm=lm_of(model)):
        with pytest.raises(LMConnectionError, match="ended before the answer did"):
            await read(Predict(SIGNATURE).stream(question="sky?"))
        with pytest.raises(LMConnectionError):
            await read(Predict(SIGNATURE).stream(question="sky?"))
    assert len(model.bodies) == 2


async def test_a_stream_that_nobody_reads_starts_nothing(start_model):
    model = start_model(lambda _: "?")
    with using(lm=lm_of(model)), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Predict(SIGNATURE).stream(question="Why is the sky blue?")
        gc.collect()
    assert (told, model.bodies) == ([], [])
