"""Programs that search: the same in this process and as durable runs."""

import pytest

from dspex_core import Predict, Retrieve, using
from dspex_core.errors import ProgramError, RunFailedError
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.retrieval import BM25Index
from dspex_core.testing import conformance_rows

pytestmark = pytest.mark.slow

TOPIC = "context: list[str], text, summary -> topic: Literal['account', 'billing', 'bug', 'shipping']"


def searching(**retrieve):
    return Predict("text -> summary") | Retrieve(query_field="text", **retrieve) | Predict(TOPIC)


async def test_a_pipeline_of_three_modules_with_a_retriever_compiles_alike_on_both_runtimes(platform, client):
    program = searching(k=1, retriever="shop_app:handbook")
    trainset, valset = conformance_rows(24), conformance_rows(12, start=24)
    optimizer = BootstrapFewShot(metric="exact_match", seed=3)
    with using(lm=platform.lm(cache=False)):
        here = await optimizer.compile(program, trainset=trainset, valset=valset)
    run = await client.compile(
        program, optimizer=optimizer, trainset=trainset, valset=valset, lm=platform.lm(), chunk_rows=5
    )
    there = await run.result()
    assert there.program.get_state() == here.program.get_state()
    assert [candidate.score for candidate in there.candidates] == [candidate.score for candidate in here.candidates]
    demos = here.program.get_state().predictors["parts[2]"].demos
    assert any(demo.get("context") for demo in demos)


async def test_each_search_of_a_program_run_is_an_activity(platform, client):
    program = searching(k=1, retriever="shop_app:handbook")
    inputs = {"text": "the courier lost my parcel"}
    prediction = await client.run_program(program, inputs=inputs, lm=platform.lm(), id="searching")
    with using(lm=platform.lm()):
        here = await program(**inputs)
    assert prediction.context == here.context
    assert prediction.context[0].startswith("Shipping follows")
    assert prediction.topic == here.topic
    history = await client._connection.temporal.get_workflow_handle("searching").fetch_history()
    kinds = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert kinds == ["generate", "retrieve", "generate"]


async def test_a_retriever_may_ask_the_runs_model(platform, client):
    program = Retrieve(k=1, retriever="shop_app:asking") | Predict("context: list[str], query -> topic")
    prediction = await client.run_program(program, inputs={"query": "who asks?"}, lm=platform.lm())
    assert len(prediction.context) == 1
    assert prediction.usage.lm_calls + prediction.usage.cached_calls == 2


async def test_a_retriever_that_is_an_object_is_refused_before_anything_starts(platform, client):
    program = searching(retriever=BM25Index(["a text"]))
    with pytest.raises(ProgramError, match="holds a BM25Index, an object of this process"):
        await client.run_program(program, inputs={"text": "a"}, lm=platform.lm())


async def test_a_durable_run_without_a_retriever_says_how_to_name_one(platform, client):
    with pytest.raises(RunFailedError, match=r"write Retrieve\(retriever='package.module:attribute'\)"):
        await client.run_program(searching(), inputs={"text": "a"}, lm=platform.lm())


async def test_the_nearest_examples_are_found_by_a_worker(platform, client):
    program = Retrieve(k=2, retriever="shop_app:nearest")
    prediction = await client.run_program(program, inputs={"query": "text: my invoice, my refund"}, lm=platform.lm())
    with using(lm=platform.lm()):
        here = await program(query="text: my invoice, my refund")
    assert prediction.context == here.context
    assert [passage["metadata"]["example"]["topic"] for passage in prediction.passages] == ["billing", "billing"]
