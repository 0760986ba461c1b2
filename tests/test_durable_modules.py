"""Modules that call code of a user's, and those that sample: the same in this process and as durable runs."""

import pytest

from dspex_core import BestOfN, Evaluate, MultiChainComparison, Predict, Refine, using
from dspex_core.optimizers import BootstrapFewShot, Ensemble, KNNFewShot, LabeledFewShot
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow


async def kinds_of(client, run_id):
    history = await client._connection.temporal.get_workflow_handle(run_id).fetch_history()
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]


async def test_a_plain_forward_runs_durably_as_one_activity(platform, client):
    import shop_app

    inputs = {"text": "the courier lost the parcel that only this test speaks of"}
    prediction = await client.run_program(shop_app.PlainRouter(), inputs=inputs, lm=platform.lm(), id="plain-forward")
    with using(lm=platform.lm()):
        here = await shop_app.PlainRouter()(**inputs)
    assert prediction.topic == here.topic
    assert prediction.usage.lm_calls == 2
    assert await kinds_of(client, "plain-forward") == ["run_program"]


@pytest.mark.parametrize("kind", [BestOfN, Refine])
async def test_a_module_with_a_reward_function_runs_durably_as_one_activity(platform, client, kind):
    import shop_app

    program = kind(conformance_program(), 2, shop_app.short, threshold=0.0)
    run_id = f"rewarded-{kind.__name__}"
    prediction = await client.run_program(program, inputs={"text": "a refund"}, lm=platform.lm(), id=run_id)
    with using(lm=platform.lm()):
        assert prediction.topic == (await program(text="a refund")).topic
    assert await kinds_of(client, run_id) == ["run_program"]


async def test_a_comparison_runs_in_the_workflow_itself(platform, client):
    program = MultiChainComparison("text -> topic: Literal['billing', 'bug']", M=1)
    inputs = {"completions": [{"reasoning": "money", "topic": "billing"}], "text": "a refund"}
    prediction = await client.run_program(program, inputs=inputs, lm=platform.lm(), id="comparing")
    assert prediction.topic in ("billing", "bug")
    assert await kinds_of(client, "comparing") == ["generate"]


async def test_a_program_that_chooses_its_demos_runs_in_the_workflow_and_scores_alike_on_both(platform, client):
    optimizer = KNNFewShot(2, retriever="shop_app:nearest", metric="exact_match", max_bootstrapped_demos=1)
    program = (await optimizer.compile(conformance_program())).program
    rows = conformance_rows(8, start=40)
    prediction = await client.run_program(program, inputs=rows[0].inputs(), lm=platform.lm(), id="nearest")
    assert (await kinds_of(client, "nearest"))[:2] == ["retrieve", "generate"]
    with using(lm=platform.lm(cache=False)):
        assert prediction.topic == (await program(**rows[0].inputs())).topic
        here = await Evaluate(rows, "exact_match")(program)
    there = await client.evaluate(program, rows, metric="exact_match", lm=platform.lm())
    assert there.score == here.score


async def test_an_ensemble_runs_in_the_workflow_and_scores_alike_on_both(platform, client):
    trainset, rows = conformance_rows(24), conformance_rows(8, start=40)
    with using(lm=platform.lm()):
        members = [
            await LabeledFewShot(k=6, seed=seed).compile(conformance_program(), trainset=trainset) for seed in range(3)
        ]
        program = (await Ensemble().compile(members)).program
        here = await Evaluate(rows, "exact_match")(program)
    prediction = await client.run_program(program, inputs=rows[0].inputs(), lm=platform.lm(), id="voting")
    assert await kinds_of(client, "voting") == ["generate"] * 3
    assert prediction.topic in ("billing", "shipping", "account", "bug")
    there = await client.evaluate(program, rows, metric="exact_match", lm=platform.lm())
    assert there.score == here.score


async def test_a_program_with_plain_and_sampling_parts_compiles_alike_on_both(platform, client):
    import shop_app

    program = BestOfN(shop_app.PlainRouter(), 2, shop_app.short, threshold=-3.0) | Predict("topic -> team")
    trainset, valset = conformance_rows(16), conformance_rows(8, start=16)
    optimizer = BootstrapFewShot(metric=shop_app.lenient, metric_threshold=0.9)
    with using(lm=platform.lm(cache=False)):
        here = await optimizer.compile(program, trainset=trainset, valset=valset)
    run = await client.compile(program, optimizer=optimizer, trainset=trainset, valset=valset, lm=platform.lm())
    there = await run.result()
    assert there.program.get_state() == here.program.get_state()
    assert [candidate.score for candidate in there.candidates] == [candidate.score for candidate in here.candidates]
    assert here.program.get_state().predictors["parts[0].module.topic"].demos
