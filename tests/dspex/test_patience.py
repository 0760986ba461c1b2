"""Whoever waits for a run sits out a server that is away for a while, however long the wait was before."""

import pytest
from temporalio.service import RPCError, RPCStatusCode

from dspex.client import _patience

AWAY = RPCError("tcp connect error", RPCStatusCode.UNAVAILABLE, b"")
BROKEN = RPCError("transport error", RPCStatusCode.UNKNOWN, b"")
UNKNOWN_RUN = RPCError("no such run", RPCStatusCode.NOT_FOUND, b"")


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by what calls take and by what is waited between them."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

        async def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(_patience.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(_patience.asyncio, "sleep", clock.sleep)
    return clock


def call_of(clock, *calls):
    """A call that each time takes so long, and then gives that answer or that error."""
    left = list(calls)

    async def call():
        seconds, outcome = left.pop(0) if len(left) > 1 else left[0]
        clock.now += seconds
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return call


async def test_a_server_that_goes_away_after_a_long_wait_is_waited_for_as_one_that_goes_at_once(clock):
    hours = 3 * 3600
    call = call_of(clock, (hours, BROKEN), (10, AWAY), (10, AWAY), (hours, AWAY), (0, AWAY), (hours, "the result"))
    assert await _patience.patiently(call) == "the result"


async def test_a_server_that_stays_away_is_an_error_after_a_minute(clock):
    with pytest.raises(RPCError, match="tcp connect error"):
        await _patience.patiently(call_of(clock, (0.1, AWAY)))
    assert 60 <= clock.now < 63


async def test_what_the_server_answers_is_no_absence(clock):
    with pytest.raises(RPCError, match="no such run"):
        await _patience.patiently(call_of(clock, (1, UNKNOWN_RUN)))
    assert clock.now == 1
