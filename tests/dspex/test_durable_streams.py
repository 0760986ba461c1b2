"""Outputs of a durable run of a program are read while they are written, and again afterwards."""

import asyncio
import json
from contextlib import aclosing

import pytest
from aiohttp import web

from dspex_core import LM, ChainOfThought, Predict, StreamedPiece

pytestmark = pytest.mark.slow

WORDS = " ".join(f"word{number}" for number in range(40))


@pytest.fixture
async def writer(platform):
    """A model that writes the beginning of its answer, and the rest when it is told to go on."""
    going_on = asyncio.Event()

    async def write(request):
        asked = (await request.json())["messages"][-1]["content"]
        fields = {"reasoning": WORDS, "answer": "the answer"}
        for name, text in (("topic", "billing"), ("summary", WORDS)):
            fields = {name: text} if f"`[[ ## {name} ## ]]`" in asked else fields
        text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for content in (text[:60], None, text[60:]):
            if content is None:
                await going_on.wait()
            else:
                ending = "stop" if content == text[60:] else None
                chunk = {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": ending}]}
                await answer.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await answer.write(b"data: [DONE]\n\n")
        return answer

    app = web.Application()
    app.router.add_post("/v1/chat/completions", write)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield LM("openai/fake", api_base=base_url, cache=False), going_on
    going_on.set()
    await runner.cleanup()


async def read(run):
    """Pieces, what they make up, and the prediction after them."""
    pieces, fields, prediction = [], {}, None
    async for item in run.stream():
        if isinstance(item, StreamedPiece):
            assert prediction is None
            pieces.append(item)
            fields[item.predictor, item.field] = fields.get((item.predictor, item.field), "") + item.text
        else:
            prediction = item
    return pieces, fields, prediction


async def test_pieces_come_while_the_model_writes_and_can_be_read_again(client, writer):
    lm, going_on = writer
    program = ChainOfThought("question -> answer")
    run = await client.start_program(program, inputs={"question": "?"}, lm=lm, stream=True)
    async with aclosing(run.stream()) as items:
        # The model has not yet written the rest, and will not before this is read.
        first = await anext(items)
    assert (first.predictor, first.field) == ("predict", "reasoning")
    assert WORDS.startswith(first.text)
    going_on.set()
    pieces, fields, prediction = await read(run)
    assert fields == {("predict", "reasoning"): WORDS, ("predict", "answer"): "the answer"}
    assert (prediction.reasoning, prediction.answer) == (WORDS, "the answer")
    assert pieces[0] == first
    assert await read(client.get_run(run.id)) == (pieces, fields, prediction)


async def test_a_class_of_a_users_own_is_streamed_from_its_one_activity(client, writer):
    lm, going_on = writer
    run = await client.start_program("shop_app:router", inputs={"text": "a refund"}, lm=lm, stream=True)
    async with aclosing(run.stream()) as items:
        assert (await anext(items)).field == "summary"
    going_on.set()
    _, fields, prediction = await read(run)
    assert fields == {("summary", "summary"): WORDS, ("topic", "topic"): "billing"}
    assert prediction.topic == "billing"


async def test_a_run_that_is_not_to_be_streamed_gives_its_answer_alone(client, platform):
    inputs = {"text": "a refund that only this test asks about"}
    run = await client.start_program(Predict("text -> topic"), inputs=inputs, lm=platform.lm())
    pieces, _, prediction = await read(run)
    assert pieces == []
    assert prediction == await run.prediction()
