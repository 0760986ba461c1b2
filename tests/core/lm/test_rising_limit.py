"""A provider that takes so many calls at a time, then more, then fewer: the calls in flight follow, over HTTP."""

import asyncio

import pytest
from model_servers import lm_of

from dspex_core.seam import LMRequest, Message
from dspex_core.testing import FakeProviderProcess

pytestmark = pytest.mark.slow


async def call_without_end(lm, name):
    number = 0
    while True:
        number += 1
        await lm.generate(LMRequest(messages=(Message(role="user", content=f"{name}, call {number}"),)))


async def until_in_flight(provider, lowest, highest):
    """Wait until this many calls are worked on at a time, look after look, and few of them are refused."""
    settled = 0
    async with asyncio.timeout(90):
        while settled < 5:
            provider.reset()
            while (await asyncio.to_thread(provider.stats)).answered < 40:
                await asyncio.sleep(0.05)
            stats = await asyncio.to_thread(provider.stats)
            is_settled = lowest <= stats.max_in_flight <= highest and stats.requests - stats.answered <= highest + 4
            settled = settled + 1 if is_settled else 0


async def test_the_calls_in_flight_follow_what_the_provider_takes():
    with FakeProviderProcess(latency_ms=100, capacity=8, retry_after_seconds=0.1) as provider:
        lm = lm_of(provider, concurrency=48, cache=False)
        calling = [asyncio.create_task(call_without_end(lm, name)) for name in range(96)]
        try:
            await until_in_flight(provider, 7, 8)
            provider.change(capacity=24)
            await until_in_flight(provider, 20, 24)
            provider.change(capacity=8)
            await until_in_flight(provider, 7, 8)
        finally:
            for call in calling:
                call.cancel()
            ended = await asyncio.gather(*calling, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), "a call was lost"
