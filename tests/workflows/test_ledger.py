"""A run's limits are shared among what is under way, and what is not needed comes back."""

import asyncio

import pytest

from dspex_core.budget import Limits
from dspex_core.usage import Usage
from workflows._ledger import Ledger


def ledger_of(*, taken_seconds=0.0, **limits):
    return Ledger(Limits(**limits), seconds=lambda: taken_seconds)


async def test_who_asks_at_the_same_time_gets_alike():
    ledger = ledger_of(lm_calls=12, tokens=1000)
    shares = await asyncio.gather(*(ledger.lend() for _ in range(4)))
    assert [share.lm_calls for share in shares] == [3, 3, 3, 3]
    assert [share.tokens for share in shares] == [250] * 4


async def test_what_was_not_taken_may_be_taken_by_others():
    ledger = ledger_of(lm_calls=10)
    share = await ledger.lend()
    assert share.lm_calls == 10
    ledger.settle(share, Usage(lm_calls=4))
    assert not ledger.is_used_up
    assert (await ledger.lend()).lm_calls == 6


@pytest.mark.parametrize(
    ("limits", "taken", "seconds"),
    [
        ({"lm_calls": 3}, Usage(lm_calls=3), 0.0),
        ({"tokens": 100}, Usage(prompt_tokens=80, completion_tokens=20), 0.0),
        ({"usd": 0.5}, Usage(lm_calls=1, cost_usd=0.5), 0.0),
        ({"usd": 5.0}, Usage(lm_calls=1, cost_usd=None), 0.0),
        ({"seconds": 60.0}, Usage(), 60.0),
    ],
)
async def test_each_limit_is_used_up_by_what_it_limits(limits, taken, seconds):
    ledger = ledger_of(taken_seconds=seconds, **limits)
    ledger.settle(None, taken)
    assert ledger.is_used_up
    assert (await ledger.lend()).spent, "what is known already is free, and all else is refused where it is asked for"


async def test_a_run_without_limits_lends_nothing_and_counts():
    ledger = Ledger(None, seconds=lambda: 0.0)
    assert await ledger.lend() is None
    ledger.settle(None, Usage(lm_calls=7))
    assert (ledger.is_used_up, ledger.usage.lm_calls) == (False, 7)
