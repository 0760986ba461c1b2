import asyncio
import sys
import threading

import httpx
import pytest
from aiohttp import web
from model_servers import asked, lm_of, written

from dspex_core import Evaluate, Example, Predict, Prediction, Score, using
from dspex_core.errors import (
    ConfigurationError,
    DatasetError,
    EvaluationError,
    LMAuthenticationError,
    MetricError,
    ProgramError,
    UnknownNameError,
)
from dspex_core.lm import _pool, _retrying
from dspex_core.optimizers import LabeledFewShot

ECHO = Predict("text -> team")


def rows(*texts):
    return [Example(text=text, team=text.upper()).with_inputs("text") for text in texts]


def refuse(status):
    return web.json_response({"error": {"message": "no"}}, status=status)


@pytest.fixture
def model(start_model):
    return start_model(lambda messages: written(team=asked(messages)["text"].upper()))


@pytest.fixture
def few_retries(monkeypatch):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.001)
    monkeypatch.setattr(_pool, "PATIENCE_SECONDS", 0)


async def test_rows_keep_their_order_whatever_order_they_are_done_in(start_model):
    first_may_answer = asyncio.Event()

    async def answer(messages):
        text = asked(messages)["text"]
        if text == "a":
            await first_may_answer.wait()
        if text == "c":
            first_may_answer.set()
        return written(team=text.upper() if text != "b" else "wrong")

    with using(lm=lm_of(start_model(answer))):
        result = await Evaluate(rows("a", "b", "c"), "exact_match")(ECHO)
    assert [row.row for row in result.rows] == [0, 1, 2]
    assert [row.prediction for row in result.rows] == [{"team": "A"}, {"team": "wrong"}, {"team": "C"}]
    assert [row.score for row in result.rows] == [1.0, 0.0, 1.0]
    assert result.score == 66.67
    assert result.errors == []
    assert result.usage.lm_calls == 3
    assert all(row.usage.lm_calls == 1 for row in result.rows)


async def test_no_more_rows_are_in_flight_than_asked_for(start_provider):
    provider = start_provider(latency_ms=20)
    with using(lm=lm_of(provider)):
        await Evaluate(rows(*"abcdefgh"), lambda *_: True, concurrency=2)(ECHO)
    assert provider.stats().max_in_flight == 2
    assert provider.stats().requests == 8


async def test_a_row_that_the_program_fails_on_scores_0_and_keeps_its_error(model):
    async def program(text):
        if text == "b":
            raise ValueError("cannot read key-of-the-tests")
        return await ECHO(text=text)

    with using(lm=lm_of(model)):
        result = await Evaluate(rows("a", "b"), "exact_match")(program)
    assert [row.score for row in result.rows] == [1.0, 0.0]
    assert result.score == 50.0
    assert [(row.row, row.error) for row in result.errors] == [(1, "ValueError: cannot read [key]")]


async def test_a_row_whose_answer_cannot_be_read_scores_0_and_keeps_what_it_took(start_model):
    with using(lm=lm_of(start_model(lambda _: "no fields"))):
        result = await Evaluate(rows("a"), "exact_match")(ECHO)
    assert result.score == 0.0
    assert result.rows[0].error.startswith("AdapterParseError: output field 'team' is missing")
    assert result.usage.lm_calls == 2


async def test_a_row_that_no_model_answered_has_no_score_and_does_not_count(start_model, few_retries):
    def answer(messages):
        text = asked(messages)["text"]
        return refuse(500) if text == "b" else written(team=text.upper())

    with using(lm=lm_of(start_model(answer))):
        result = await Evaluate(rows("a", "b", "c"), "exact_match")(ECHO)
    assert [row.score for row in result.rows] == [1.0, None, 1.0]
    assert result.score == 100.0
    assert [row.error.split(":")[0] for row in result.errors] == ["LMProviderError"]


async def test_a_row_whose_judge_could_not_be_reached_has_no_score_but_its_prediction(start_model, few_retries):
    judge = Predict("verdict_on -> good: bool")

    async def judged(example, prediction, trace=None):
        return (await judge(verdict_on=prediction.team)).good

    def answer(messages):
        values = asked(messages)
        if values.get("verdict_on") == "B":
            return refuse(500)
        return written(good="true") if "verdict_on" in values else written(team=values["text"].upper())

    with using(lm=lm_of(start_model(answer))):
        result = await Evaluate(rows("a", "b"), judged)(ECHO)
    assert [(row.score, row.prediction) for row in result.rows] == [(1.0, {"team": "A"}), (None, {"team": "B"})]
    assert result.rows[0].usage.lm_calls == 2


async def test_a_provider_that_is_down_for_every_row_gives_no_score_but_the_reason(start_model, few_retries):
    with (
        using(lm=lm_of(start_model(lambda _: refuse(503)))),
        pytest.raises(EvaluationError, match=r"no row could be scored; LMUnavailableError.*503"),
    ):
        await Evaluate(rows("a", "b"), "exact_match")(ECHO)


async def test_a_rejected_key_ends_the_evaluation_at_once(start_model):
    model = start_model(lambda _: refuse(401))
    with using(lm=lm_of(model)), pytest.raises(LMAuthenticationError):
        await Evaluate(rows(*"abcdefgh"), "exact_match", concurrency=2)(ECHO)
    assert len(model.bodies) <= 2


@pytest.mark.parametrize("settings", ["no lm", "no key"])
async def test_without_lm_or_key_nothing_is_scored(provider, monkeypatch, settings):
    evaluate = Evaluate(rows("a", "b"), "exact_match")
    if settings == "no lm":
        with pytest.raises(ConfigurationError, match="no LM is set"):
            await evaluate(ECHO)
        return
    monkeypatch.delenv("OPENAI_API_KEY")
    with using(lm=lm_of(provider)), pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        await evaluate(ECHO)


async def test_more_failures_than_max_errors_end_the_evaluation_with_one_plain_error():
    tried = []

    async def failing(text):
        tried.append(text)
        raise ValueError(f"no {text}")

    with pytest.raises(EvaluationError, match=r"2 rows failed.* max_errors=1; the last was row 1: ValueError: no b"):
        await Evaluate(rows(*"abcdefgh"), "exact_match", max_errors=1, concurrency=1)(failing)
    assert tried == ["a", "b"]


async def test_as_many_failures_as_max_errors_are_borne():
    async def failing(text):
        raise ValueError(text)

    result = await Evaluate(rows("a", "b"), "exact_match", max_errors=2)(failing)
    assert (result.score, len(result.errors)) == (0.0, 2)


def refusing_first(model, retry_after):
    """Every text is refused when it is asked for the first time."""

    def answer(messages):
        if model[0].conversations.count(messages) == 1:
            later = {"Retry-After": str(retry_after)}
            return web.json_response({"error": {"message": "slower"}}, status=429, headers=later)
        return written(team=asked(messages)["text"].upper())

    return answer


@pytest.mark.slow
async def test_while_a_row_waits_to_be_tried_again_the_next_ones_are_worked_on(start_model):
    model = []
    model.append(start_model(refusing_first(model, 0.2)))
    with using(lm=lm_of(model[0])):
        result = await Evaluate(rows(*"abcdefgh"), "exact_match", concurrency=1)(ECHO)
    assert (result.score, [row.row for row in result.rows]) == (100.0, list(range(8)))
    texts = [asked(messages)["text"] for messages in model[0].conversations]
    assert texts[:4] == list("abcd"), "three may wait beside the one that is worked on"
    assert set(texts[4:]) >= set("abcd")
    assert len(texts) == 16


async def test_a_row_that_was_waiting_has_a_place_again_before_it_goes_on(start_model):
    model = []
    model.append(start_model(refusing_first(model, 0.01)))
    working, most = 0, 0

    def metric(example, prediction, trace=None):
        nonlocal working, most
        working += 1
        most = max(most, working)
        threading.Event().wait(0.02)
        working -= 1
        return True

    with using(lm=lm_of(model[0])):
        await Evaluate(rows(*"abcdefgh"), metric, concurrency=2)(ECHO)
    assert most <= 2


async def test_a_share_of_failures_may_be_borne_too():
    async def failing(text):
        if text in "ab":
            raise ValueError(text)
        return Prediction(team=text.upper())

    four = Evaluate(rows(*"abcd"), "exact_match", max_errors=0.5)
    assert (await four(failing)).failed == 2
    with pytest.raises(EvaluationError, match=r"2 rows failed.* max_errors=0.4"):
        await Evaluate(rows(*"abcd"), "exact_match", max_errors=0.4, concurrency=1)(failing)
    with pytest.raises(ConfigurationError, match="max_errors"):
        Evaluate(rows("a"), "exact_match", max_errors=-1)


async def test_a_share_of_rows_that_are_read_as_needed_is_looked_at_from_the_hundredth_on():
    async def failing(text):
        raise ValueError(text)

    endless = (rows("a")[0] for _ in iter(int, 1))
    with pytest.raises(EvaluationError, match="100 rows failed") as caught:
        await Evaluate(endless, "exact_match", max_errors=0.2, concurrency=1)(failing)
    assert len(caught.value.rows) == 100


async def test_rows_that_were_finished_come_with_the_error_that_ended_the_evaluation(start_model):
    def answer(messages):
        text = asked(messages)["text"]
        return refuse(401) if text == "c" else written(team=text.upper())

    with using(lm=lm_of(start_model(answer))), pytest.raises(EvaluationError, match="LMAuthenticationError") as caught:
        await Evaluate(rows(*"abcd"), "exact_match", concurrency=1)(ECHO)
    assert [(row.row, row.score) for row in caught.value.rows] == [(0, 1.0), (1, 1.0)]
    assert isinstance(caught.value.__cause__, LMAuthenticationError)


async def echo(text):
    return Prediction(team=text.upper())


@pytest.mark.parametrize("returned", [float("nan"), float("inf"), "good", None, Score(value=float("nan"))])
async def test_a_metric_that_returns_no_score_is_named_with_the_row(returned):
    def odd(example, prediction, trace=None):
        return returned if example.text == "b" else 1.0

    with pytest.raises(MetricError, match="row 1: metric odd returned"):
        await Evaluate(rows("a", "b"), odd)(echo)


async def test_a_metric_that_runs_out_of_an_iterator_ends_the_evaluation_too(model):
    def exhausted(example, prediction, trace=None):
        return next(iter(()))

    with using(lm=lm_of(model)), pytest.raises(MetricError, match=r"exhausted failed on row 0: .*StopIteration"):
        await asyncio.wait_for(Evaluate(rows("a"), exhausted)(ECHO), timeout=20)


async def test_a_metric_that_raises_is_named_with_the_row_and_the_reason():
    def broken(example, prediction, trace=None):
        return prediction.label == example.team

    with pytest.raises(MetricError, match=r"metric broken failed on row 0: AttributeError: .* 'label'") as caught:
        await Evaluate(rows("a"), broken)(echo)
    assert isinstance(caught.value.__cause__, AttributeError)


def leaves(example, prediction, trace=None):
    sys.exit(0)


async def leaves_too(example, prediction, trace=None):
    sys.exit("enough")


@pytest.mark.parametrize(("metric", "said"), [(leaves, "SystemExit: 0"), (leaves_too, "SystemExit: enough")])
async def test_a_metric_that_ends_the_process_is_one_that_raises(metric, said):
    with pytest.raises(MetricError, match=rf"metric leaves\w* failed on row 0: {said}"):
        await Evaluate(rows("a"), metric)(echo)


async def test_a_program_that_ends_the_process_fails_on_its_row():
    async def program(**inputs):
        sys.exit(1)

    result = await Evaluate(rows("a"), "exact_match")(program)
    assert (result.score, result.errors[0].error) == (0.0, "SystemExit: 1")


class TheirError(Exception):
    """An error of the metric's own module."""


@pytest.mark.parametrize(
    ("raised", "retryable"),
    [
        *((kind("no"), False) for kind in (KeyError, RuntimeError, SystemExit, TheirError)),
        *((kind("no"), True) for kind in (ConnectionResetError, TimeoutError, httpx.ConnectError)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_only_a_metric_that_a_service_may_have_failed_is_worth_another_try(raised, retryable):
    def metric(example, prediction, trace=None):
        raise raised

    with pytest.raises(MetricError) as caught:
        await Evaluate(rows("a"), metric)(echo)
    assert caught.value.retryable == retryable


@pytest.mark.parametrize(("verdict", "score"), [(True, 100.0), (False, 0.0), (0.25, 25.0), (1, 100.0)])
async def test_a_metric_may_return_bools_and_numbers(verdict, score):
    assert (await Evaluate(rows("a"), lambda *_: verdict)(echo)).score == score


async def test_a_metric_may_give_words_with_its_score():
    result = await Evaluate(rows("a"), lambda *_: Score(value=0.5, feedback="almost"))(echo)
    assert (result.score, result.rows[0].feedback) == (50.0, "almost")


async def test_a_metric_may_be_async():
    async def judged(example, prediction, trace=None):
        await asyncio.sleep(0)
        return prediction.team == example.team

    assert (await Evaluate(rows("a"), judged)(echo)).score == 100.0


async def test_a_synchronous_metric_runs_beside_the_loop_and_may_run_programs(model):
    threads = set()

    def judged(example, prediction, trace=None):
        threads.add(threading.current_thread())
        return ECHO.run(text=example.text).team == prediction.team

    with using(lm=lm_of(model)):
        result = await Evaluate(rows("a", "b"), judged)(ECHO)
    assert result.score == 100.0
    assert threading.main_thread() not in threads


async def test_synchronous_metrics_that_wait_hold_up_no_other_row():
    all_rows_are_here = threading.Barrier(50)

    def waiting(example, prediction, trace=None):
        all_rows_are_here.wait(20)
        return True

    result = await Evaluate(rows(*map(str, range(50))), waiting, concurrency=50)(echo)
    assert result.score == 100.0


async def test_a_metric_is_called_with_trace_none():
    seen = []

    def noting(example, prediction, trace=None):
        seen.append(trace)
        return True

    await Evaluate(rows("a"), noting)(echo)
    assert seen == [None]


async def test_two_programs_in_turn_are_scored_each_for_itself(model):
    evaluate = Evaluate(rows("a"), "exact_match")
    with using(lm=lm_of(model)):
        assert (await evaluate(ECHO)).usage.lm_calls == 1
        again = await evaluate(ECHO)
    assert (again.usage.lm_calls, again.usage.cached_calls) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "kind", "complaint"),
    [
        (([], "exact_match"), DatasetError, "no rows"),
        (([Example(text="a")], "exact_match"), DatasetError, r"row 0: .*with_inputs"),
        ((rows("a"), "exact_mach"), UnknownNameError, "did you mean 'exact_match'"),
        ((rows("a"), "no_such_package.metrics:judge"), ProgramError, "no_such_package"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_any_call(arguments, kind, complaint):
    with pytest.raises(kind, match=complaint):
        Evaluate(*arguments)


def test_a_concurrency_of_no_rows_is_refused():
    with pytest.raises(ConfigurationError, match="concurrency is 0"):
        Evaluate(rows("a"), "exact_match", concurrency=0)


@pytest.mark.parametrize("devset", [None, [{"text": "a dict", "team": "bug"}]])
def test_what_is_no_data_set_is_refused_by_name(devset):
    with pytest.raises(DatasetError, match="Evaluate"):
        Evaluate(devset, "exact_match")


async def test_what_cannot_be_called_is_refused_and_scores_nothing():
    rows = [Example(text="a", team="bug").with_inputs("text")]
    with pytest.raises(ProgramError, match="scores a module"):
        await Evaluate(rows, "exact_match")("triage")


def test_an_evaluation_and_a_compile_run_in_a_script_without_a_loop(provider):
    rows = [Example(text="I was charged twice", team="billing").with_inputs("text")]
    program = Predict("text -> team: Literal['billing', 'bug']")
    with using(lm=lm_of(provider)):
        assert 0 <= Evaluate(rows, "exact_match").run(program).score <= 100
        found = LabeledFewShot(metric="exact_match").run(program, trainset=rows)
    assert found.program.get_state().predictors["self"].demos[0]["team"] == "billing"
