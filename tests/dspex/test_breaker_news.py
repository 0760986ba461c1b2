"""A durable run's log tells when its model is left alone, and when it answers again."""

import asyncio

import pytest

from dspex_core import LM
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

pytestmark = pytest.mark.slow


async def test_an_outage_is_in_the_log_of_the_run_once_with_its_end(platform, client):
    with FakeProviderProcess(latency_ms=200) as model:
        run = await client.compile(
            conformance_program(),
            optimizer=BootstrapFewShot(metric="exact_match"),
            trainset=conformance_rows(16),
            valset=conformance_rows(40, start=16),
            lm=LM("openai/fake", api_base=model.base_url, concurrency=16),
            id="outage-in-the-log",
            chunk_rows=8,
        )
        while model.stats().requests < 20:
            await asyncio.sleep(0.02)
        model.change(outage="unavailable")
        async for event in run.events():
            if event.type == "breaker_changed" and event.state == "open":
                model.change(outage=None)
        result = await run.result()
        told = [event async for event in run.events(follow=False) if event.type == "breaker_changed"]
    assert [(event.model, event.state) for event in told] == [("openai/fake", "open"), ("openai/fake", "closed")]
    assert "503" in told[0].reason
    assert result.usage.retries >= 10
    assert not (await run.status()).progress.breakers
