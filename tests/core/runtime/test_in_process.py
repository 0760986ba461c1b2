import pytest
from aiohttp import web
from model_servers import asked, lm_of, written

from dspex_core import Example, Predict, events
from dspex_core.errors import ConfigurationError, DatasetError, EvaluationError, LMAuthenticationError
from dspex_core.lm import _retrying
from dspex_core.runtime import InProcessRuntime
from dspex_core.seam import LMRequest, Message, StoredDataset, TraceRequest, rolled_out

ECHO = Predict("text -> team")
ROWS = [Example(text=text, team=text.upper()).with_inputs("text") for text in ("one", "two", "three", "four")]


def shouting(messages):
    """A model that repeats what it is told in capitals, but does not know the first row's."""
    text = asked(messages)["text"]
    return written(team="unknown" if text == ROWS[0].text else text.upper())


@pytest.fixture
def model(start_model):
    return start_model(shouting)


async def test_an_evaluation_scores_rows_in_order_and_tells_how_far_it_is(model):
    with events.subscribe(types=events.RUNS) as stream:
        evaluation = await InProcessRuntime(lm_of(model)).evaluate(ECHO, ROWS, metric="exact_match")
    assert evaluation.scores == (0.0, 1.0, 1.0, 1.0)
    assert (evaluation.score, evaluation.failed) == (75.0, 0)
    told = [event async for event in stream]
    assert [event.rows for event in told] == [1, 2, 3, 4]
    assert told[-1].score == 75.0
    assert told[-1].usage == evaluation.usage
    assert evaluation.usage.lm_calls == 4


async def test_failed_rows_score_0_and_the_first_five_are_quoted(start_model):
    model = start_model(lambda _: "no fields")
    rows = [Example(text=str(number), team="x").with_inputs("text") for number in range(7)]
    evaluation = await InProcessRuntime(lm_of(model)).evaluate(ECHO, rows, metric="exact_match")
    assert (evaluation.score, evaluation.failed) == (0.0, 7)
    assert [failure.split(":")[0] for failure in evaluation.failures] == [f"row {number}" for number in range(5)]


async def test_an_outage_ends_an_evaluation_and_is_never_a_score(start_provider):
    provider = start_provider(api_key="another")
    with pytest.raises(LMAuthenticationError):
        await InProcessRuntime(lm_of(provider)).evaluate(ECHO, ROWS, metric="exact_match")


async def test_no_more_rows_are_in_flight_than_calls_allowed(start_provider):
    provider = start_provider(latency_ms=20)
    await InProcessRuntime(lm_of(provider, concurrency=2)).evaluate(ECHO, ROWS, metric="exact_match")
    assert provider.stats().max_in_flight == 2


@pytest.fixture
def model_that_waits_for_the_second_row(start_model, monkeypatch):
    """Refuses every row until the second one was asked about, so that nothing goes on if a waiting row holds a slot."""
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.02)

    def answer(messages):
        if any(asked(body["messages"])["text"] == ROWS[1].text for body in model.bodies):
            return shouting(messages)
        return web.json_response({"error": {"message": "wait"}}, status=429)

    model = start_model(answer)
    return model


async def test_a_row_that_waits_to_be_tried_again_lets_another_begin(model_that_waits_for_the_second_row):
    runtime = InProcessRuntime(lm_of(model_that_waits_for_the_second_row, concurrency=1))
    evaluation = await runtime.evaluate(ECHO, ROWS, metric="exact_match")
    assert evaluation.scores == (0.0, 1.0, 1.0, 1.0)


async def test_so_does_one_that_is_traced(model_that_waits_for_the_second_row):
    runtime = InProcessRuntime(lm_of(model_that_waits_for_the_second_row, concurrency=1))
    found = await runtime.trace(ECHO, ROWS, TraceRequest(rows=(0, 1, 2), metric="exact_match"))
    assert [trace.row for trace in found.accepted] == [1, 2]


async def test_traces_keep_the_order_asked_for_and_only_successes(model):
    request = TraceRequest(rows=(3, 0, 2), metric="exact_match")
    found = await InProcessRuntime(lm_of(model)).trace(ECHO, ROWS, request)
    assert [trace.row for trace in found.accepted] == [3, 2]
    assert found.accepted[0].demos == {"self": [{"text": "four", "team": "FOUR"}]}
    assert (found.tried, found.failures, found.usage.lm_calls) == (3, (), 3)


async def test_no_row_is_traced_once_enough_were_accepted(model):
    request = TraceRequest(rows=(0, 1, 2, 3), wanted=1, metric="exact_match")
    found = await InProcessRuntime(lm_of(model)).trace(ECHO, ROWS, request)
    assert ([trace.row for trace in found.accepted], found.tried) == ([1], 2)
    assert len(model.bodies) == 2


async def test_a_rollout_is_a_fresh_sample_with_a_cache_place_of_its_own(model):
    runtime = InProcessRuntime(lm_of(model))
    for rollout in (0, 1, 2, 1):
        with rolled_out(rollout):
            await runtime.evaluate(ECHO, ROWS[:1], metric="exact_match")
    assert [body["temperature"] for body in model.bodies] == [0.0, 1.0, 1.0]


async def test_an_empty_data_set_has_no_score():
    with pytest.raises(EvaluationError, match="no rows"):
        (await InProcessRuntime().evaluate(ECHO, [], metric="exact_match")).score  # noqa: B018 - raises


async def test_a_stored_data_set_cannot_be_read_here():
    with pytest.raises(DatasetError, match="must be loaded"):
        await InProcessRuntime().evaluate(ECHO, StoredDataset(digest="abc", size=3), metric="exact_match")


async def test_without_an_lm_the_error_says_how_to_set_one():
    with pytest.raises(ConfigurationError, match="no LM is set"):
        await InProcessRuntime().generate(LMRequest(messages=(Message(role="user", content="hi"),)))
