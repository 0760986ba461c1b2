"""A run takes no more than its budget, and goes on or ends as it was told when that is used up."""

import asyncio

import pytest

from dspex import Budget
from dspex_core import LM
from dspex_core.errors import ConfigurationError, RunConflictError
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:a budget of")]

OPTIMIZER = BootstrapFewShot(metric="exact_match")
TRAIN, VAL = conformance_rows(16), conformance_rows(40, start=16)
PRICE = (1_000.0, 1_000.0)
"""Dollars a million tokens."""


@pytest.fixture
def model():
    with FakeProviderProcess(latency_ms=10) as provider:
        yield provider


def compiled(client, model, run_id, **options):
    lm = LM("openai/fake", api_base=model.base_url, concurrency=4, price_per_million=PRICE)
    return client.compile(
        conformance_program(), optimizer=OPTIMIZER, trainset=TRAIN, valset=VAL, lm=lm, id=run_id, **options
    )


async def until_status(run, wanted):
    async with asyncio.timeout(90):
        while (status := await run.status()).status != wanted:
            assert status.status in ("queued", "running", wanted), status
            await asyncio.sleep(0.05)
        return status


async def test_a_run_sends_no_call_beyond_its_budget_and_goes_on_when_it_is_raised(platform, client, model):
    with pytest.warns(UserWarning, match="50 LM calls is used up before BootstrapFewShot has scored its one proposal"):
        run = await compiled(client, model, "fifty", budget=Budget(lm_calls=50))
    parked = await until_status(run, "parked")
    assert "budget reached: 50 LM calls" in parked.parked_reason
    assert model.stats().requests == 50
    with pytest.raises(RunConflictError, match="is no more than the run took already"):
        await run.raise_budget(lm_calls=50)
    with pytest.raises(ConfigurationError, match="lm_calls"):
        await run.raise_budget(lm_calls=-5)
    with pytest.raises(RunConflictError, match=r"budget reached: 50 LM calls .* `dspex runs raise-budget`"):
        await run.resume()
    await run.raise_budget(lm_calls=60)
    async with asyncio.timeout(90):
        while "60 LM calls" not in ((await run.status()).parked_reason or ""):
            await asyncio.sleep(0.05)
    assert model.stats().requests == 60
    await run.raise_budget(lm_calls=1_000)
    result = await run.result()
    assert result.usage.lm_calls == model.stats().requests == model.stats().distinct
    assert result.ended_early is None
    told = [event.budget.lm_calls async for event in run.events(follow=False) if event.type == "budget_set"]
    assert told == [50, 60, 1_000]


async def test_a_budget_that_just_suffices_does_not_stop_the_run(platform, client, model):
    whole = await (await compiled(client, model, "unlimited")).result()
    with FakeProviderProcess() as another:
        run = await compiled(client, another, "just-enough", budget=Budget(lm_calls=whole.usage.lm_calls))
        assert (await run.result()).usage.lm_calls == whole.usage.lm_calls


async def test_a_run_that_is_to_finish_ends_with_the_best_so_far(platform, client, model):
    run = await compiled(client, model, "finishing", budget=Budget(lm_calls=50, on_limit="finish"))
    result = await run.result()
    assert "budget reached" in result.ended_early
    assert [candidate.label for candidate in result.candidates] == ["baseline"]
    assert result.score == result.baseline_score
    assert model.stats().requests == 50
    status = await run.status()
    assert status.status == "completed"
    assert "ended early: budget reached: 50 LM calls may be taken, and 50 LM calls" in status.note
    assert result.usage.lm_calls == status.usage.lm_calls == 50, "calls of rows that were not finished were paid for"


async def test_dollars_are_exceeded_by_the_calls_in_flight_at_most(platform, client, model):
    run = await compiled(client, model, "dollars", budget=Budget(usd=3.0))
    parked = await until_status(run, "parked")
    assert "$3" in parked.parked_reason
    stats = model.stats()
    dearest = 0.25
    assert stats.answered >= 10
    spent = (stats.prompt_tokens + stats.completion_tokens) / 1_000
    assert spent < 3.0 + 4 * dearest * 4
    await run.cancel(hard=True)


async def test_a_budget_in_dollars_needs_prices(platform, client, model):
    lm = LM("openai/fake", api_base=model.base_url)
    given = {"optimizer": OPTIMIZER, "trainset": TRAIN, "valset": VAL, "lm": lm}
    run = await client.compile(conformance_program(), id="unpriced", budget=Budget(lm_calls=50), **given)
    await until_status(run, "parked")
    with pytest.raises(RunConflictError, match="what the run costs is not known"):
        await run.raise_budget(usd=5)
    await run.cancel()
    with pytest.raises(ConfigurationError, match="the price of openai/fake is not known"):
        await client.compile(
            conformance_program(), optimizer=OPTIMIZER, trainset=TRAIN, valset=VAL, lm=lm, budget=Budget(usd=1)
        )
