import asyncio
import threading

import pytest

from dspex_core import events
from dspex_core.errors import LMConnectionError, LMRateLimitError, LMUnavailableError
from dspex_core.lm import broken_models
from dspex_core.lm._pool import Pool, pool_of
from dspex_core.seam import LMConfig, calling


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def pool(clock=None, **limits):
    config = LMConfig(model="openai/m", **limits)
    return Pool(config, endpoint="http://h/v1") if clock is None else Pool(config, endpoint="http://h/v1", clock=clock)


async def fail(pool, error, *, patient=True):
    with pytest.raises(type(error)):
        async with pool.turn(patient=patient):
            raise error


async def break_down(pool):
    for _ in range(10):
        await fail(pool, LMConnectionError("nobody there"))


async def waiting(pool, count):
    while len(pool._waiting) < count:
        await asyncio.sleep(0)


async def test_a_caller_with_one_call_is_served_before_the_rest_of_one_with_thousands():
    shared, order = pool(concurrency=2), []

    async def call(name):
        async with shared.turn():
            order.append(name)
            await asyncio.sleep(0)

    async def many():
        with calling():
            await asyncio.gather(*(call("many") for _ in range(5000)))

    async def one():
        with calling():
            await call("one")

    crowd = asyncio.create_task(many())
    await waiting(shared, 4000)
    await one()
    assert len(order) < 20
    await crowd


async def test_calls_of_no_evaluation_are_told_apart_by_what_their_tasks_run():
    shared, order = pool(concurrency=1), []

    async def call(name):
        async with shared.turn():
            order.append(name)
            await asyncio.sleep(0)

    crowd = asyncio.gather(*(call("many") for _ in range(1000)))
    await waiting(shared, 900)
    await call("one")
    assert len(order) < 20
    await crowd


async def test_callers_in_several_threads_share_one_limit_and_all_are_served():
    shared, in_flight, most, done, lock = pool(concurrency=3), 0, 0, 0, threading.Lock()

    async def call():
        nonlocal in_flight, most, done
        async with shared.turn():
            with lock:
                in_flight += 1
                most = max(most, in_flight)
            await asyncio.sleep(0)
            with lock:
                in_flight -= 1
                done += 1

    async def calls():
        await asyncio.gather(*(call() for _ in range(200)))

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, calls()) for _ in range(4)), calls())
    assert (most, done) == (3, 1000)


async def test_who_is_cancelled_while_waiting_or_working_leaves_its_place_to_others():
    shared, hold = pool(concurrency=1), asyncio.Event()

    async def call():
        async with shared.turn():
            await hold.wait()

    tasks = [asyncio.create_task(call()) for _ in range(3)]
    await waiting(shared, 2)
    tasks[1].cancel()
    tasks[0].cancel()
    await asyncio.gather(*tasks[:2], return_exceptions=True)
    hold.set()
    await tasks[2]
    async with asyncio.timeout(5), shared.turn():
        pass


async def test_a_slot_given_to_who_is_cancelled_in_the_same_moment_is_not_lost():
    shared, hold = pool(concurrency=1), asyncio.Event()

    async def call():
        async with shared.turn():
            await hold.wait()

    first, second = asyncio.create_task(call()), asyncio.create_task(call())
    await waiting(shared, 1)
    hold.set()
    first.add_done_callback(lambda _: second.cancel())
    await asyncio.gather(first, second, return_exceptions=True)
    async with asyncio.timeout(5), shared.turn():
        pass


async def test_while_the_provider_is_left_alone_calls_fail_at_once_and_say_for_how_long(clock):
    shared = pool(clock)
    await break_down(shared)
    with pytest.raises(LMUnavailableError, match=r"openai/m.*http://h/v1.*nobody there") as caught:
        async with shared.turn(patient=False):
            pass
    assert caught.value.retry_after == pytest.approx(1)
    assert (caught.value.provider, caught.value.model, caught.value.retryable) == ("openai", "m", True)


@pytest.mark.slow
async def test_a_call_that_waits_is_the_only_probe_and_the_others_go_on_when_it_is_answered():
    shared, sent, answer = pool(), [], asyncio.Event()

    async def call(number):
        async with shared.turn():
            sent.append(number)
            await answer.wait()

    await break_down(shared)
    calls = [asyncio.create_task(call(number)) for number in range(5)]
    while not sent:
        await asyncio.sleep(0.01)
    await fail(shared, LMUnavailableError("one is finding out"), patient=False)
    assert sent == [0]
    answer.set()
    await asyncio.gather(*calls)
    assert sorted(sent) == list(range(5))


async def test_a_refusal_is_an_answer_that_ends_the_waiting(clock):
    shared = pool(clock)
    await break_down(shared)
    clock.now += 1
    await fail(shared, LMRateLimitError("slower"))
    async with shared.turn(patient=False):
        pass


async def test_once_the_provider_was_away_for_two_minutes_those_who_wait_are_told(clock):
    shared = pool(clock)
    await break_down(shared)
    for _ in range(12):
        clock.now += 15
        with pytest.raises((LMConnectionError, LMUnavailableError)):
            async with shared.turn():
                raise LMConnectionError("nobody there")
    with pytest.raises(LMUnavailableError):
        async with shared.turn(patient=True):
            pass


async def test_every_change_of_the_breaker_is_an_event_and_open_ones_are_seen_from_other_processes(clock):
    shared = pool(clock)
    with events.subscribe() as stream:
        await break_down(shared)
        (seen,) = broken_models()
        assert (seen.change.model, seen.change.state) == ("openai/m", "open")
        clock.now += 1
        async with shared.turn():
            assert broken_models()[0].change.state == "half_open"
        assert broken_models() == []
    changes = [event async for event in stream]
    assert [event.state for event in changes] == ["open", "half_open", "closed"]
    assert changes[0] == events.BreakerChanged(
        model="openai/m", endpoint="http://h/v1", state="open", tries_again_in_seconds=1.0, reason="nobody there"
    )


async def test_when_nothing_gets_through_all_wait_as_long_as_the_provider_asks(clock):
    shared = pool(clock, concurrency=4)
    for _ in range(3):
        await fail(shared, LMRateLimitError("slower", retry_after=0.05))
    waited = asyncio.create_task(shared.turn().__aenter__())
    await waiting(shared, 1)
    clock.now += 0.06
    await asyncio.wait_for(waited, 5)


async def test_one_refusal_among_answers_holds_nobody_up(clock):
    shared = pool(clock)
    for _ in range(20):
        await fail(shared, LMRateLimitError("slower", retry_after=60))
        async with asyncio.timeout(5), shared.turn():
            pass


async def test_a_limit_that_the_headers_call_used_up_is_waited_for(clock):
    shared = pool(clock)
    shared.heed({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"})
    waited = asyncio.create_task(shared.turn().__aenter__())
    await waiting(shared, 1)
    clock.now += 0.03
    await asyncio.wait_for(waited, 5)


async def test_no_more_requests_are_sent_in_a_minute_than_allowed(clock):
    shared, sent = pool(clock, requests_per_minute=120), []

    async def call():
        async with shared.turn():
            sent.append(clock.now)

    calls = asyncio.gather(*(call() for _ in range(4)))
    await waiting(shared, 2)
    assert len(sent) == 2
    clock.now += 1
    await asyncio.wait_for(calls, 5)
    assert len(sent) == 4


async def test_tokens_are_counted_by_estimate_and_then_as_they_were(clock):
    shared = pool(clock, tokens_per_minute=6000)
    async with shared.turn(tokens=10) as turn:
        turn.used_tokens = 110
    waited = asyncio.create_task(shared.turn(tokens=50).__aenter__())
    await waiting(shared, 1)
    clock.now += 0.7
    await asyncio.wait_for(waited, 5)


def test_lms_of_one_model_endpoint_key_and_limits_share_one_pool():
    config = LMConfig(model="openai/m", temperature=0.0)
    shared = pool_of(config, endpoint="http://h", api_key="k")
    assert pool_of(config.model_copy(update={"temperature": 1.0}), endpoint="http://h", api_key="k") is shared
    for other in (
        pool_of(config, endpoint="http://other", api_key="k"),
        pool_of(config, endpoint="http://h", api_key="another"),
        pool_of(config.model_copy(update={"concurrency": 3}), endpoint="http://h", api_key="k"),
        pool_of(LMConfig(model="openai/n"), endpoint="http://h", api_key="k"),
    ):
        assert other is not shared
