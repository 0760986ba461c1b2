"""Calls to a provider that fails, over HTTP: none is lost, none is paid twice, none is counted wrongly."""

import asyncio

import pytest
from aiohttp import web
from model_servers import lm_of

from dspex_core import LM, Evaluate, Example, Predict, Usage, using
from dspex_core.errors import LMError, LMTimeoutError
from dspex_core.lm import _retrying, broken_models
from dspex_core.seam import LMRequest, Message, calling

KINDS = ("429", "500", "overloaded", "drop", "malformed", "slow", "cut")
ECHO = Predict("text -> team")


def request(text="hello"):
    return LMRequest(messages=(Message(role="user", content=str(text)),))


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-of-the-tests")
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.002)


async def whole(lm, asked):
    return await lm.generate(asked)


async def streamed(lm, asked):
    """What has been said cannot be unsaid, so who reads a stream begins it anew when it breaks off."""
    while True:
        try:
            return [piece async for piece in lm.stream(asked)][-1]
        except LMError as error:
            if not error.retryable:
                raise


WAYS = {"whole": whole, "streamed": streamed}
APIS = {
    "chat": lm_of,
    "responses": lambda provider, **options: lm_of(provider, model_type="responses", **options),
    "anthropic": lambda provider, **options: LM("anthropic/fake-learner", api_base=provider.root_url, **options),
}


async def asked_in_threads(lm, way, count):
    """The same calls from four loops at once."""

    async def some(start):
        with calling():
            return await asyncio.gather(*(way(lm, request(number)) for number in range(start, count, 4)))

    parts = await asyncio.gather(*(asyncio.to_thread(asyncio.run, some(start)) for start in range(4)))
    return [response for part in parts for response in part]


def paid(responses):
    return sum((response.usage for response in responses), start=Usage())


def same_as_counted(usage, stats):
    return (usage.lm_calls, usage.prompt_tokens, usage.completion_tokens) == (
        stats.answered,
        stats.prompt_tokens,
        stats.completion_tokens,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("kinds", "rate"), [*((kind, 0.3) for kind in KINDS), (KINDS, 0.05), (KINDS, 0.3)])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("api", APIS)
@pytest.mark.usefixtures("short_waits")
async def test_no_call_is_lost_to_a_fault_that_passes_and_usage_is_what_the_provider_counted(
    start_provider, api, way, kinds, rate
):
    provider = start_provider(fault_rate=rate, fault_kinds=kinds, retry_after_seconds=0.01, slow_seconds=30)
    # An answer that comes too late is counted by the provider alone: on a busy machine three seconds can be too few.
    timeout_seconds = 3 if "slow" in kinds else 60
    lm = APIS[api](provider, cache=False, timeout_seconds=timeout_seconds, concurrency=32)
    responses = await asked_in_threads(lm, WAYS[way], 120)
    assert len(responses) == 120
    assert all(response.text for response in responses)
    assert same_as_counted(paid(responses), provider.stats())
    assert sum(provider.stats().faults.values()) > 0


@pytest.mark.slow
@pytest.mark.alone
async def test_a_provider_with_room_for_few_is_found_out_and_few_requests_are_wasted(start_provider):
    provider = start_provider(capacity=20, latency_ms=20, retry_after_seconds=0.2)
    lm = lm_of(provider, cache=False)
    with calling():
        responses = await asyncio.gather(*(lm.generate(request(number)) for number in range(2000)))
    stats = provider.stats()
    assert stats.answered == len(responses) == 2000
    assert stats.requests < 1.05 * 2000
    assert 18 <= lm._open_pool().limit <= 22
    assert same_as_counted(paid(responses), stats)


@pytest.mark.slow
@pytest.mark.alone
async def test_an_outage_in_the_middle_of_an_evaluation_costs_no_row_and_is_probed_one_call_at_a_time(
    start_model, monkeypatch
):
    monkeypatch.setattr("dspex_core.lm._breaker.FIRST_PAUSE_SECONDS", 0.05)
    probes, at_once = [], []

    async def answer(messages):
        if len(model.bodies) <= 100 or len(probes) == 4:
            return "[[ ## team ## ]]\nbug\n\n[[ ## completed ## ]]"
        if any(report.change.state == "half_open" for report in broken_models()):
            probes.append(1)
            at_once.append(len(model.bodies))
            await asyncio.sleep(0.1)
            at_once.append(len(model.bodies))
        return web.json_response({"error": {"message": "down"}}, status=503)

    model = start_model(answer)
    rows = [Example(text=f"text {number}", team="bug").with_inputs("text") for number in range(300)]
    with using(lm=lm_of(model, cache=False, concurrency=8)):
        result = await Evaluate(rows, "exact_match", concurrency=16)(ECHO)
    assert (result.score, result.failed, len(result.rows)) == (100.0, 0, 300)
    assert result.usage.lm_calls == 300
    assert len(probes) == 4
    assert at_once[::2] == at_once[1::2]


async def test_a_deadline_ends_a_call_with_all_its_retries(start_provider):
    provider = start_provider(fault_rate=1, fault_kinds="429", retry_after_seconds=30)
    lm = lm_of(provider, deadline_seconds=0.5, cache=False)
    with pytest.raises(LMTimeoutError, match=r"deadline of 0.5 s"):
        await lm.generate(request())
    assert provider.stats().requests <= 1, "there may be none if the machine is that busy"


async def test_a_straggler_is_sent_once_more_if_asked_for_and_counted_as_the_provider_counts(start_model):
    stuck, hold = [], asyncio.Event()
    loop = asyncio.get_running_loop()

    async def answer(messages):
        if messages[0]["content"] == "slow" and not stuck:
            stuck.append(1)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(hold.wait(), loop))
        return "done"

    model = start_model(answer)
    lm = lm_of(model, cache=False, hedge=True)
    for number in range(25):
        await lm.generate(request(number))
    response = await asyncio.wait_for(lm.generate(request("slow")), 10)
    assert (response.text, response.usage.lm_calls) == ("done", 1)
    assert [messages[0]["content"] for messages in model.conversations].count("slow") == 2
    hold.set()
