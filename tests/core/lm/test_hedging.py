import asyncio

import pytest
from model_servers import lm_of

from dspex_core import Usage
from dspex_core.errors import LMProviderError
from dspex_core.lm._hedging import Stragglers, hedged
from dspex_core.seam import LMRequest, LMResponse, Message


def answering(text, *, after=None, error=None):
    async def send():
        if after is not None:
            await after.wait()
        if error is not None:
            raise error
        return LMResponse(text=text, usage=Usage(lm_calls=1))

    return send


def test_a_call_is_late_when_it_takes_three_times_as_long_as_nearly_all_others():
    stragglers = Stragglers()
    for number in range(19):
        stragglers.took(1 + number / 100)
    assert stragglers.late_after() is None
    stragglers.took(60)
    assert stragglers.late_after() == 180
    for _ in range(100):
        stragglers.took(1)
    assert stragglers.late_after() == pytest.approx(3.3, abs=0.3)


async def test_a_call_in_time_is_sent_once():
    answer = await hedged(answering("first"), answering("again", error=AssertionError()), late_after=30)
    assert (answer.text, answer.usage.lm_calls) == ("first", 1)


async def test_a_late_call_is_sent_once_more_and_the_first_answer_wins():
    never = asyncio.Event()
    answer = await hedged(answering("first", after=never), answering("again"), late_after=0)
    assert (answer.text, answer.usage.lm_calls) == ("again", 1)


async def test_two_answers_are_both_counted():
    both = asyncio.Event()
    asked = asyncio.create_task(hedged(answering("a", after=both), answering("b", after=both), late_after=0))
    await asyncio.sleep(0.01)
    both.set()
    assert (await asked).usage.lm_calls == 2


async def test_if_one_fails_the_other_s_answer_is_waited_for_and_if_both_do_it_is_the_first_error():
    soon = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, soon.set)
    failing = answering("", error=LMProviderError("first"), after=soon)
    assert (await hedged(answering("good", after=soon), failing, late_after=0)).text == "good"
    soon.clear()
    asyncio.get_running_loop().call_later(0.01, soon.set)
    with pytest.raises(LMProviderError, match="first"):
        await hedged(failing, answering("", error=LMProviderError("again")), late_after=0)


async def test_who_gives_up_gives_up_both():
    never, given_up = asyncio.Event(), []

    async def send():
        try:
            await never.wait()
        except asyncio.CancelledError:
            given_up.append(1)
            raise

    asked = asyncio.create_task(hedged(send, send, late_after=0))
    await asyncio.sleep(0.01)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert len(given_up) == 2


async def answered_beside_a_straggler(start_model, **options):
    """The usage of a call whose first sending is not answered before the second, or before long."""
    asked, never = [], asyncio.Event()

    async def answer(_):
        asked.append(1)
        if len(asked) == 1 and not options:
            await never.wait()
        await asyncio.sleep(0.05)
        return "hi"

    lm = lm_of(start_model(answer), cache=False, hedge=True, **options)
    for _ in range(20):
        lm._stragglers.took(0.001)
    response = await lm.generate(LMRequest(messages=(Message(role="user", content="hello"),)))
    await lm.close()
    return response.usage, len(asked)


async def test_a_call_given_up_before_its_answer_is_told_and_not_counted_as_answered(start_model):
    usage, asked = await answered_beside_a_straggler(start_model)
    assert (asked, usage.lm_calls, usage.abandoned_calls) == (2, 1, 1)
    assert (usage + usage).abandoned_calls == 2
    assert ((usage + usage) - usage).abandoned_calls == 1


async def test_a_call_that_waits_for_a_slot_was_not_sent_and_is_not_told(start_model):
    usage, asked = await answered_beside_a_straggler(start_model, concurrency=1)
    assert (asked, usage.lm_calls, usage.abandoned_calls) == (1, 1, 0)
