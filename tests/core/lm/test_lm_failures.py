import asyncio
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from model_servers import ScriptedModel, lm_of

from dspex_core import LM, Evaluate, Example, Predict, using
from dspex_core.errors import (
    EvaluationError,
    LMAuthenticationError,
    LMConnectionError,
    LMError,
    LMMalformedResponseError,
    LMNotFoundError,
    LMProviderError,
    LMQuotaError,
    LMRateLimitError,
    LMRequestError,
    LMTimeoutError,
    LMUnavailableError,
    LMUnreachableError,
)
from dspex_core.lm import _pool, _retrying
from dspex_core.seam import LMRequest, Message

KEY = "key-of-the-tests"


def request(text="hello"):
    return LMRequest(messages=(Message(role="user", content=text),))


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.001)


def nowhere():
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


async def whole(lm):
    return (await lm.generate(request())).text


async def streamed(lm):
    return [piece async for piece in lm.stream(request())][-1].text


@pytest.mark.parametrize("call", [whole, streamed])
@pytest.mark.parametrize("api_base", [nowhere(), "http://no-such-host.invalid/v1"], ids=["refused", "no such host"])
@pytest.mark.usefixtures("short_waits")
async def test_an_address_where_nobody_ever_answered_is_soon_given_up(call, api_base):
    lm = LM(f"openai/{call.__name__}", api_base=api_base)
    with pytest.raises(LMUnreachableError, match=f"cannot reach {api_base}"):
        await call(lm)
    # Each attempt is a failure to the breaker, which opens after ten.
    assert lm._open_pool()._breaker._failures == 3
    await lm.close()


@pytest.mark.usefixtures("short_waits")
async def test_a_server_that_answered_before_is_waited_for_when_it_is_away(background):
    with background.running(ScriptedModel(lambda _: "hi")) as model:
        lm = lm_of(model, cache=False)
        assert await whole(lm) == "hi"
    with pytest.raises(LMUnreachableError):
        await whole(lm)
    with pytest.raises(LMUnavailableError, match="failed many times in a row"):
        await whole(lm)
    await lm.close()


async def test_an_evaluation_where_nobody_ever_answered_says_so_soon(monkeypatch):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.001)
    monkeypatch.setattr(_pool, "PATIENCE_WHERE_NOBODY_IS_SECONDS", 0.0)
    rows = [Example(text=str(number), team="bug").with_inputs("text") for number in range(30)]
    with using(lm=LM("openai/fake", api_base=nowhere())), pytest.raises(EvaluationError, match="cannot reach"):
        await Evaluate(rows, "exact_match")(Predict("text -> team"))


@pytest.mark.parametrize("kind", ["429", "500", "drop", "malformed"])
async def test_faults_that_pass_are_tried_again_until_the_answer_comes(start_provider, short_waits, kind):
    provider = start_provider(fault_rate=0.3, fault_kinds=kind, retry_after_seconds=0)
    lm = lm_of(provider)
    responses = await asyncio.gather(*(lm.generate(request(str(number))) for number in range(20)))
    assert all(response.text for response in responses)
    assert provider.stats().answered == 20
    assert provider.stats().faults[kind] > 0


async def test_a_call_that_takes_too_long_is_tried_again(start_provider, short_waits):
    provider = start_provider(fault_rate=0.5, fault_kinds="slow", slow_seconds=30)
    lm = lm_of(provider, timeout_seconds=0.2)
    responses = await asyncio.gather(*(lm.generate(request(str(number))) for number in range(4)))
    assert all(response.text for response in responses)
    assert provider.stats().faults["slow"] > 0


def refusing(status, headers=None, message="no"):
    def answer(_):
        return web.json_response({"error": {"message": message}}, status=status, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, LMRequestError),
        (401, LMAuthenticationError),
        (403, LMAuthenticationError),
        (404, LMNotFoundError),
        (413, LMRequestError),
        (422, LMRequestError),
    ],
)
async def test_what_waiting_does_not_cure_is_never_tried_again(start_model, status, kind):
    model = start_model(refusing(status))
    with pytest.raises(kind) as caught:
        await lm_of(model).generate(request())
    assert (caught.value.status, caught.value.retryable) == (status, False)
    assert (caught.value.provider, caught.value.model) == ("openai", "fake-learner")
    assert len(model.bodies) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, LMProviderError),
        (409, LMProviderError),
        (429, LMRateLimitError),
        (500, LMProviderError),
        (503, LMProviderError),
    ],
)
async def test_what_waiting_may_cure_is_tried_ten_times(start_model, short_waits, status, kind):
    model = start_model(refusing(status))
    with pytest.raises(kind) as caught:
        await lm_of(model).generate(request())
    assert (caught.value.status, caught.value.retryable) == (status, True)
    assert len(model.bodies) == 10


MALFORMED = [
    web.Response(text="<html>", content_type="text/html"),
    web.Response(text="{", content_type="application/json"),
    web.Response(body=b"\xff\xfe", content_type="application/json"),
    *(
        web.Response(text=text, content_type="application/json")
        for text in ("null", "[]", "{}", '{"choices": []}', '{"choices": [{"message": null}]}', '{"choices": "x"}')
    ),
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
async def test_a_body_that_is_no_completion_is_tried_again(start_model, short_waits, number):
    def answer(_):
        sent = MALFORMED[number]
        return "good" if len(model.bodies) > 1 else web.Response(body=sent.body, content_type=sent.content_type)

    model = start_model(answer)
    assert (await lm_of(model).generate(request())).text == "good"
    assert len(model.bodies) == 2


async def test_an_answer_that_stays_malformed_is_said_to_be(start_model, short_waits):
    model = start_model(lambda _: web.json_response({"object": "chat.completion"}))
    with pytest.raises(LMMalformedResponseError, match="openai/fake-learner"):
        await lm_of(model).generate(request())


async def test_a_failed_call_is_not_kept(start_model):
    model = start_model(lambda _: refusing(400)(_) if len(model.bodies) == 1 else "good")
    lm = lm_of(model)
    with pytest.raises(LMRequestError):
        await lm.generate(request())
    assert (await lm.generate(request())).text == "good"


async def test_calls_that_joined_a_failing_one_fail_with_it(start_model):
    model = start_model(refusing(400))
    lm = lm_of(model)
    outcomes = await asyncio.gather(*(lm.generate(request()) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(outcome, LMRequestError) for outcome in outcomes)
    assert len(model.bodies) == 1


async def test_a_rejected_key_is_never_in_the_error(start_provider):
    provider = start_provider(api_key="sk-the-right-one")
    with pytest.raises(LMAuthenticationError, match="check OPENAI_API_KEY") as caught:
        await lm_of(provider, api_key="sk-the-wrong-one").generate(request())
    assert "sk-the" not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None
    assert provider.stats().requests == 1


async def test_a_key_that_the_provider_echoes_is_never_in_the_error(start_model):
    model = start_model(refusing(400, message=f"bad header: Bearer {KEY}"))
    with pytest.raises(LMRequestError, match=r"bad header: Bearer \[key\]"):
        await lm_of(model).generate(request())


async def test_the_time_that_a_provider_asks_for_is_waited(start_model, monkeypatch):
    model = start_model(lambda _: refusing(429, {"Retry-After": "7"})(_) if len(model.bodies) == 1 else "good")
    waits = waits_without_waiting(monkeypatch)
    assert (await lm_of(model).generate(request())).text == "good"
    assert waits == [pytest.approx(7.5, abs=0.5)]


async def test_a_date_is_understood_as_the_time_to_wait(start_model, monkeypatch):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    model = start_model(lambda _: refusing(503, {"Retry-After": later})(_) if len(model.bodies) == 1 else "good")
    waits = waits_without_waiting(monkeypatch)
    assert (await lm_of(model).generate(request())).text == "good"
    assert 0 < waits[0] <= 61


async def test_a_provider_that_asks_for_an_hour_is_not_waited_for(start_model):
    model = start_model(refusing(429, {"Retry-After": "3600"}))
    with pytest.raises(LMRateLimitError) as caught:
        await lm_of(model).generate(request())
    assert caught.value.retry_after == 3600
    assert len(model.bodies) == 1


async def test_waits_grow_at_random_where_the_provider_asks_for_nothing(start_model, monkeypatch):
    model = start_model(refusing(500))
    waits = waits_without_waiting(monkeypatch)
    with pytest.raises(LMProviderError):
        await lm_of(model).generate(request())
    assert len(set(waits)) == len(waits) == 9
    assert all(0 <= wait <= min(15, 0.5 * 2**number) for number, wait in enumerate(waits))


async def test_a_retry_waits_outside_the_slot_so_that_other_calls_go_on(start_model):
    first_failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer(messages):
        if messages[0]["content"] == "failing" and len(model.bodies) == 1:
            loop.call_soon_threadsafe(first_failed.set)
            return refusing(429, {"Retry-After": "60"})(messages)
        return "good"

    model = start_model(answer)
    lm = lm_of(model, concurrency=1)
    waiting = asyncio.create_task(lm.generate(request("failing")))
    await first_failed.wait()
    assert (await lm.generate(request("other"))).text == "good"
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_an_address_where_nobody_listens_is_named(short_waits):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        lm = LM("openai/m", api_base=f"http://127.0.0.1:{port}/v1")
        with pytest.raises(LMConnectionError, match=f"cannot reach http://127.0.0.1:{port}/v1") as caught:
            await lm.generate(request())
    assert caught.value.retryable


def waits_without_waiting(monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return waits


@pytest.mark.parametrize("call", [whole, streamed])
async def test_a_deadline_that_passes_between_attempts_names_the_last_failure(call, start_model):
    burning = {"error": {"message": "the cluster burns"}}
    model = start_model(lambda _: web.json_response(burning, status=503, headers={"Retry-After": "60"}))
    lm = lm_of(model, deadline_seconds=0.8)
    await lm._on_this_loop()  # imports take their time
    with pytest.raises(LMTimeoutError, match=r"deadline of 0\.8 s, .*; the last failure was: .*503, the cluster burns"):
        await call(lm)


async def closed_at_once(reader, writer):
    await reader.read(10)
    writer.close()


async def no_http(reader, writer):
    await reader.read(10)
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    writer.close()


async def cut_off(reader, writer):
    await reader.read(10)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 500\r\n\r\ndata: {")
    writer.close()


@pytest.mark.parametrize("call", [whole, streamed])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (closed_at_once, "the connection was closed before an answer came"),
        (no_http, "what answers there speaks no HTTP"),
        (cut_off, "the answer broke off"),
    ],
)
@pytest.mark.usefixtures("short_waits")
async def test_a_connection_that_fails_is_told_of_in_words_of_our_own(behave, words, provider, call, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    lm = LM(f"{provider}/{behave.__name__}-{call.__name__}", api_base=address, cache=False)
    with pytest.raises(LMConnectionError, match=f"{address}: {words}$") as caught:
        await call(lm)
    assert not isinstance(caught.value, (LMUnreachableError, LMTimeoutError))
    server.close()


@pytest.mark.usefixtures("short_waits")
async def test_an_address_that_refuses_connections_is_told_of_in_words_of_our_own():
    with pytest.raises(LMUnreachableError, match=r"cannot reach http://127.0.0.1:\d+/v1: nobody listens there$"):
        await LM("openai/refused", api_base=nowhere()).generate(request())


GOOGLE_KEY = [{"error": {"code": 400, "message": "API key not valid. Please pass one.", "status": "INVALID_ARGUMENT"}}]
NO_CREDIT = {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}


@pytest.mark.parametrize(
    ("sent", "kind", "said"),
    [
        ((400, GOOGLE_KEY, {}), LMAuthenticationError, "the API key was rejected: check OPENAI_API_KEY"),
        ((400, NO_CREDIT, {}), LMQuotaError, "credit balance is too low; the account's quota is spent"),
        ((402, {"error": {"code": 402, "message": "Insufficient credits"}}, {}), LMQuotaError, "Insufficient credits"),
        ((402, {"error": {"code": 402, "message": "busy"}}, {"Retry-After": "3"}), LMRateLimitError, "busy"),
        ((403, {"error": {"message": "no access"}}, {}), LMAuthenticationError, "no access; the API key lacks"),
        ((403, {"error": {"code": 403, "message": "your input was flagged"}}, {}), LMRequestError, "flagged"),
        ((200, {"error": {"code": 400, "message": "bad tool"}}, {}), LMRequestError, "bad tool"),
        ((200, {"error": {"code": 502, "message": "upstream is down"}}, {}), LMProviderError, "upstream is down"),
    ],
)
@pytest.mark.usefixtures("short_waits")
async def test_what_providers_say_in_ways_of_their_own_is_understood(start_model, sent, kind, said):
    status, body, headers = sent
    model = start_model(lambda _: web.json_response(body, status=status, headers=headers))
    with pytest.raises(kind, match=said) as caught:
        await lm_of(model).generate(request())
    assert type(caught.value) is kind
    assert len(model.bodies) == (10 if caught.value.retryable else 1)


def chain_of(error):
    """An error and all that it came from, whether a traceback shows it or not."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("call", [whole, streamed])
@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 500])
@pytest.mark.usefixtures("short_waits")
async def test_a_key_that_a_provider_quotes_is_in_no_error_nor_in_any_that_it_came_from(start_model, call, status):
    quoting = {"error": {"message": f"you sent Bearer {KEY}", "code": 400}}
    model = start_model(lambda _: web.json_response(quoting, status=status, headers={"X-Sent": KEY}))
    with pytest.raises(LMError) as caught:
        await call(lm_of(model, api_key=KEY))
    for error in chain_of(caught.value):
        assert KEY not in str(error) + repr(error) + repr(vars(error))
