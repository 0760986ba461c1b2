"""A run that only a person can help is parked, and goes on from there once it was helped."""

import pytest
from real_parts import API_KEY, until_parked

from dspex_core import LM
from dspex_core.errors import RunFailedError
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(16), conformance_rows(40, start=16)


@pytest.fixture
def model():
    with FakeProviderProcess(latency_ms=50) as provider:
        yield provider


def lm_of(model):
    return LM("openai/fake", api_base=model.base_url, concurrency=4)


async def test_a_run_whose_key_is_rejected_waits_and_goes_on_where_it_was_once_the_key_is_good(platform, client, model):
    optimizer = BootstrapFewShot(metric="exact_match")
    given = {"optimizer": optimizer, "trainset": TRAIN, "valset": VAL, "lm": lm_of(model), "chunk_rows": 4}
    run = await client.compile(conformance_program(), id="revoked", **given)
    async for event in run.events():
        if event.type == "candidate_evaluated":
            break
    model.change(api_key="another-key")
    parked = await until_parked(run)
    assert "the API key was rejected: check OPENAI_API_KEY" in parked.parked_reason
    assert API_KEY not in parked.parked_reason
    assert {summary.id: summary.status for summary in await client.list_runs()}["revoked"] == "parked"
    listed = client._connection.temporal.list_workflows("DspexStatus = 'parked'")
    assert "revoked" in [found.id async for found in listed], "as an operator asks for all runs that are parked"

    model.change(api_key=API_KEY)
    await run.resume()
    result = await run.result()
    assert result.ended_early is None
    assert result.score > result.baseline_score
    assert result.usage.lm_calls == model.stats().answered == model.stats().distinct


@pytest.mark.parametrize("kind", ["evaluation", "program"])
async def test_who_waits_for_an_answer_is_told_that_the_run_is_parked_and_kept(platform, client, model, kind):
    model.change(api_key="another-key")
    run_id, given = f"parked-{kind}", {"lm": lm_of(model), "id": f"parked-{kind}"}
    if kind == "evaluation":
        asked = client.evaluate(conformance_program(), VAL, metric="exact_match", **given)
    else:
        asked = client.run_program(conformance_program(), inputs=VAL[0].inputs(), **given)
    with pytest.raises(RunFailedError, match=rf"{run_id} is parked: .*key was rejected.*runs resume {run_id}"):
        await asked
    model.change(api_key=None)
    await client.get_run(run_id).resume()
    workflow = client._connection.temporal.get_workflow_handle(run_id)
    assert await workflow.result()
