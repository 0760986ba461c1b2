import random
from datetime import date

import pytest
from aiohttp import web
from model_servers import asked, lm_of, values_in, written

from dspex_core import ChainOfThought, Example, Module, Predict, Score, events, using
from dspex_core.errors import ConfigurationError, DatasetError, EvaluationError, LMProviderError, MetricError
from dspex_core.lm import _retrying
from dspex_core.metrics import exact_match
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.seam import PredictorState, ProgramState

TRIAGE = "text -> team"


def rows(count, start=0):
    return [Example(text=f"text{n}", team=f"team{n}").with_inputs("text") for n in range(start, start + count)]


def knowing(*numbers):
    """A model that knows the teams of these rows, and of no others; it shows what it reasoned."""

    def answer(messages):
        number = asked(messages)["text"].removeprefix("text")
        return written(reasoning=f"why{number}", team=f"team{number}" if int(number) in numbers else "unknown")

    return answer


def texts_of(demos):
    return [demo["text"] for demo in demos]


def demos_in(messages):
    questions = [message["content"] for message in messages if message["role"] == "user"]
    return [values_in(question)["text"] for question in questions[:-1]]


async def compiled(model, program, *, trainset, valset=None, teacher=None, teacher_lm=None, **options):
    with using(lm=lm_of(model)):
        return await BootstrapFewShot(**{"metric": "exact_match"} | options).compile(
            program, trainset=trainset, valset=valset, teacher=teacher, teacher_lm=teacher_lm
        )


async def demos_from(model, *, trainset, **options):
    result = await compiled(model, ChainOfThought(TRIAGE), trainset=trainset, **options)
    return result.program.get_state().predictors["predict"].demos


async def test_successful_runs_come_first_in_row_order_and_labelled_rows_fill_up(start_model):
    model = start_model(knowing(0, 2, 4, 5, 6))
    demos = await demos_from(model, trainset=rows(8), max_bootstrapped_demos=3, max_labeled_demos=5)
    assert texts_of(demos[:3]) == ["text0", "text2", "text4"]
    assert demos[0] == {"text": "text0", "reasoning": "why0", "team": "team0"}
    rest = [1, 3, 5, 6, 7]
    random.Random(0).shuffle(rest)
    drawn = random.Random(0).sample(rest, 2)
    assert demos[3:] == tuple({"text": f"text{number}", "team": f"team{number}"} for number in drawn)


async def test_the_defaults_are_four_and_sixteen(start_model):
    demos = await demos_from(start_model(knowing(*range(40))), trainset=rows(40))
    assert [("reasoning" in demo) for demo in demos] == [True] * 4 + [False] * 12


async def test_rows_are_tried_in_order_and_no_more_than_going_row_by_row_would_need(start_model):
    model = start_model(knowing(1, 3, 4, 6, 7))
    await demos_from(model, trainset=rows(8), max_bootstrapped_demos=3)
    assert sorted(asked(messages)["text"] for messages in model.conversations) == [f"text{n}" for n in range(5)]


async def test_every_row_is_tried_if_few_succeed(start_model):
    model = start_model(knowing(7))
    demos = await demos_from(model, trainset=rows(8), max_bootstrapped_demos=2, max_labeled_demos=0)
    assert texts_of(demos) == ["text7"]
    assert len(model.bodies) == 8


async def test_a_teacher_without_demos_is_shown_labelled_rows_but_never_the_row_it_is_asked(start_model):
    model = start_model(knowing(*range(6)))
    await demos_from(model, trainset=rows(6), max_bootstrapped_demos=6)
    assert len(model.bodies) == 6
    everything = {f"text{number}" for number in range(6)}
    for messages in model.conversations:
        assert set(demos_in(messages)) == everything - {asked(messages)["text"]}


@pytest.mark.parametrize("value", [date(2024, 1, 2), ("a", "b"), {1, 2}, 0.5, None])
async def test_a_row_is_left_out_of_its_own_demos_whatever_its_values(start_model, value):
    trainset = [Example(row, extra=value).with_inputs("text") for row in rows(3)]
    model = start_model(knowing(0, 1, 2))
    await demos_from(model, trainset=trainset, max_bootstrapped_demos=3)
    assert len(model.bodies) == 3
    for messages in model.conversations:
        assert len(demos_in(messages)) == 2
        assert asked(messages)["text"] not in demos_in(messages)


async def test_a_teacher_with_demos_keeps_them(start_model):
    model = start_model(knowing(0, 1))
    shown = ({"text": "seen", "team": "before"},)
    teacher = with_state(ChainOfThought(TRIAGE), instructions="Teach.", demos=shown)
    await demos_from(model, trainset=rows(4), teacher=teacher, max_bootstrapped_demos=2)
    for messages in model.conversations:
        assert demos_in(messages) == ["seen"]
        assert messages[0]["content"].endswith("Teach.")


async def test_no_labelled_demos_means_none_for_the_teacher_either(start_model):
    model = start_model(knowing(0, 1))
    demos = await demos_from(model, trainset=rows(4), max_labeled_demos=0, max_bootstrapped_demos=2)
    assert texts_of(demos) == ["text0", "text1"]
    assert all(demos_in(messages) == [] for messages in model.conversations)


async def test_no_bootstrapped_demos_means_no_calls_and_labelled_demos_only(start_model):
    model = start_model(knowing(0, 1))
    demos = await demos_from(model, trainset=rows(20), max_bootstrapped_demos=0)
    assert len(demos) == 16
    assert all("reasoning" not in demo for demo in demos)
    assert model.bodies == []


@pytest.mark.parametrize(
    ("verdict", "threshold", "accepted"),
    [
        (0.5, None, True),
        (0.0, None, False),
        (0.5, 0.5, True),
        (0.5, 0.6, False),
        (0.0, 0.0, True),
        (-0.1, 0.0, False),
        (True, 1.0, True),
        (Score(value=0.7, feedback="good"), 0.7, True),
        (Score(value=0.0, feedback="bad"), None, False),
    ],
)
async def test_a_run_counts_as_a_success_from_the_threshold_on(start_model, verdict, threshold, accepted):
    model = start_model(knowing())
    demos = await demos_from(
        model, trainset=rows(2), metric=lambda *_: verdict, metric_threshold=threshold, max_labeled_demos=0
    )
    assert len(demos) == (2 if accepted else 0)


async def test_without_a_metric_every_run_is_a_success(start_model):
    demos = await demos_from(start_model(knowing()), trainset=rows(2), metric=None, max_labeled_demos=0)
    assert [demo["team"] for demo in demos] == ["unknown", "unknown"]


async def test_the_metric_sees_the_steps_of_the_run(start_model):
    seen = []

    def noting(example, prediction, trace=None):
        seen.append([(inputs, outputs) for _, inputs, outputs in trace])
        return True

    await demos_from(start_model(knowing(0)), trainset=rows(1), metric=noting, max_bootstrapped_demos=1)
    assert seen == [[({"text": "text0"}, {"reasoning": "why0", "team": "team0"})]]


def warming(*cold):
    """A model that knows all rows, but the `cold` ones only at temperature 1 and on the try asked for."""
    tries = {}

    def answer(messages):
        number = int(asked(messages)["text"].removeprefix("text"))
        tries[number] = tries.get(number, 0) + 1
        known = tries[number] > cold.count(number)
        return written(reasoning=f"try {tries[number]}", team=f"team{number}" if known else "unknown")

    return answer


async def test_later_rounds_ask_anew_at_temperature_1_for_the_rows_that_failed_and_no_others(start_model):
    model = start_model(warming(1, 2, 2))
    demos = await demos_from(model, trainset=rows(4), max_rounds=3, max_bootstrapped_demos=4, max_labeled_demos=0)
    assert texts_of(demos) == ["text0", "text1", "text2", "text3"]
    assert [demo["reasoning"] for demo in demos] == ["try 1", "try 2", "try 3", "try 1"]
    sent = [(asked(body["messages"])["text"], body["temperature"]) for body in model.bodies]
    assert sorted(sent[:4]) == [(f"text{n}", 0.0) for n in range(4)]
    assert sorted(sent[4:]) == [("text1", 1.0), ("text2", 1.0), ("text2", 1.0)]


async def test_a_row_is_given_up_after_the_last_round(start_model):
    model = start_model(warming(0, 0))
    demos = await demos_from(model, trainset=rows(1), max_rounds=2, max_labeled_demos=0)
    assert demos == ()
    assert len(model.bodies) == 2


async def test_a_metric_that_asks_a_model_asks_it_the_same_way_in_every_round(start_model):
    judge = Predict("verdict_on -> good: bool")
    knows = warming(0)

    def answer(messages):
        values = asked(messages)
        return written(good=str(values["verdict_on"] != "unknown")) if "verdict_on" in values else knows(messages)

    async def judged(example, prediction, trace=None):
        return (await judge(verdict_on=prediction.team)).good

    model = start_model(answer)
    demos = await demos_from(model, trainset=rows(1), metric=judged, max_rounds=2, max_labeled_demos=0)
    assert texts_of(demos) == ["text0"]
    assert [body["temperature"] for body in model.bodies] == [0.0, 0.0, 1.0, 0.0]


class Twice(Module):
    """Asks the same predictor twice."""

    def __init__(self):
        self.ask = Predict("text -> team")

    async def forward(self, text):
        await self.ask(text=f"{text}-draft")
        return await self.ask(text=text)


async def test_of_several_calls_on_a_row_one_becomes_a_demo_half_the_time_the_last(start_model):
    model = start_model(lambda messages: written(team=asked(messages)["text"].replace("text", "team")))
    trainset = rows(40)
    result = await compiled(model, Twice(), trainset=trainset, max_bootstrapped_demos=40, max_labeled_demos=0)
    texts = texts_of(result.program.get_state().predictors["ask"].demos)
    assert [text.removesuffix("-draft") for text in texts] == [row.text for row in trainset]
    assert 8 <= sum(text.endswith("-draft") for text in texts) <= 32


async def test_every_predictor_gets_demos_of_its_own(start_model):
    class Steps(Module):
        def __init__(self):
            self.find = Predict("text -> query")
            self.answer = Predict("query -> team")

        async def forward(self, text):
            return await self.answer(query=(await self.find(text=text)).query)

    def answer(messages):
        values = asked(messages)
        return written(query=f"about {values['text']}") if "text" in values else written(team="team0")

    result = await compiled(start_model(answer), Steps(), trainset=rows(1), max_labeled_demos=0)
    predictors = result.program.get_state().predictors
    assert predictors["find"].demos == ({"text": "text0", "query": "about text0"},)
    assert predictors["answer"].demos == ({"query": "about text0", "team": "team0"},)


async def test_a_run_that_fails_is_no_success_and_does_not_end_the_compile(start_model):
    def answer(messages):
        return "cannot be read" if asked(messages)["text"] == "text0" else knowing(1)(messages)

    demos = await demos_from(start_model(answer), trainset=rows(2), max_labeled_demos=0)
    assert texts_of(demos) == ["text1"]


async def test_the_teachers_model_teaches_and_the_students_is_scored(start_model):
    strong, weak = start_model(knowing(*range(4))), start_model(knowing())
    result = await compiled(
        weak, ChainOfThought(TRIAGE), trainset=rows(4), valset=rows(2, start=10), teacher_lm=lm_of(strong).config,
        max_labeled_demos=0,
    )  # fmt: skip
    assert len(result.candidates[1].state.predictors["predict"].demos) == 4
    assert {asked(messages)["text"] for messages in strong.conversations} == {f"text{n}" for n in range(4)}
    assert {asked(messages)["text"] for messages in weak.conversations} == {"text10", "text11"}


async def test_the_teachers_model_may_be_given_as_an_lm_but_not_with_a_key_of_its_own(start_model):
    strong, weak = start_model(knowing(0)), start_model(knowing())
    await compiled(weak, Predict(TRIAGE), trainset=rows(1), teacher_lm=lm_of(strong))
    assert (len(strong.bodies), len(weak.bodies)) == (1, 0)
    with pytest.raises(ConfigurationError, match="was given its key in code"):
        await compiled(weak, Predict(TRIAGE), trainset=rows(1), teacher_lm=lm_of(strong, api_key="sk-own-key"))
    assert (len(strong.bodies), len(weak.bodies)) == (1, 0)


async def test_the_same_seed_gives_the_same_demos_and_another_seed_others(start_model):
    model = start_model(knowing(*range(30)))
    first, again, other = [await demos_from(model, trainset=rows(30), seed=seed) for seed in (0, 0, 1)]
    assert first == again
    assert first != other


def with_state(program, **state):
    name = next(iter(program.named_predictors()))
    return program.with_state(ProgramState(predictors={name: PredictorState(**state)}))


async def test_the_student_stays_as_it_is_and_its_own_demos_are_replaced(start_model):
    student = with_state(Predict(TRIAGE), instructions="Route it.", demos=({"text": "old", "team": "old"},))
    before = student.get_state()
    result = await compiled(start_model(knowing(0)), student, trainset=rows(1))
    assert student.get_state() == before
    after = result.program.get_state().predictors["self"]
    assert after.instructions == "Route it."
    assert texts_of(after.demos) == ["text0"]


def learning(messages):
    """A model that answers rightly what it was shown, and knows the first rows anyway."""
    text = asked(messages)["text"]
    number = int(text.removeprefix("text"))
    shown = len(demos_in(messages)) >= 2
    return written(reasoning="so", team=f"team{number}" if shown or number < 4 else "unknown")


async def test_the_result_tells_score_baseline_candidates_and_usage(start_model):
    model = start_model(learning)
    with events.subscribe(types=events.RUNS) as stream:
        result = await compiled(
            model, ChainOfThought(TRIAGE), trainset=rows(4), valset=rows(4, start=2), max_labeled_demos=0
        )
    assert (result.baseline_score, result.score) == (50.0, 100.0)
    assert [(one.index, one.label, one.score, one.failed) for one in result.candidates] == [
        (0, "baseline", 50.0, 0),
        (1, "bootstrapped demos", 100.0, 0),
    ]
    assert result.program.get_state() == result.candidates[1].state
    assert result.usage.lm_calls == len(model.bodies)
    told = [event async for event in stream]
    kinds = [event.type for event in told]
    assert [kinds[0], kinds[-1]] == ["optimizer_started", "optimizer_finished"]
    assert kinds.count("candidate_evaluated") == 2
    booked = [event.usage.lm_calls for event in told if isinstance(event, events.UsageAdded)]
    assert sum(booked) == result.usage.lm_calls
    assert kinds.count("rows_evaluated") == 8


async def test_a_worse_program_is_never_handed_back(start_model):
    def confused(messages):
        number = asked(messages)["text"].removeprefix("text")
        return written(reasoning="so", team="confused" if demos_in(messages) else f"team{number}")

    result = await compiled(
        start_model(confused), ChainOfThought(TRIAGE), trainset=rows(4), valset=rows(4), max_labeled_demos=0
    )
    assert (result.baseline_score, result.score) == (100.0, 100.0)
    assert result.program.get_state() == ChainOfThought(TRIAGE).get_state()


async def test_a_second_compile_makes_no_call(start_model):
    model = start_model(learning)
    first = await compiled(model, ChainOfThought(TRIAGE), trainset=rows(4), valset=rows(4))
    calls = len(model.bodies)
    second = await compiled(model, ChainOfThought(TRIAGE), trainset=rows(4), valset=rows(4))
    assert len(model.bodies) == calls
    assert second.candidates == first.candidates
    assert (second.usage.lm_calls, second.usage.cached_calls) == (0, first.usage.lm_calls)


@pytest.mark.slow
async def test_after_an_outage_a_compile_goes_on_from_what_was_answered(start_model, monkeypatch):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.001)
    up = []

    def answer(messages):
        if not up and asked(messages)["text"] == "text3":
            return web.json_response({"error": {"message": "down"}}, status=503)
        return learning(messages)

    model = start_model(answer)
    with pytest.raises(LMProviderError):
        await compiled(model, ChainOfThought(TRIAGE), trainset=rows(4), max_labeled_demos=0)
    assert len(model.bodies) == 3 + 10
    up.append(True)
    await compiled(model, ChainOfThought(TRIAGE), trainset=rows(4), max_labeled_demos=0)
    assert len(model.bodies) == 3 + 10 + 1


async def test_a_program_that_fails_on_every_row_has_no_winner(start_model):
    with pytest.raises(EvaluationError, match=r"failed on every row, before and after; row 0: AdapterParseError"):
        await compiled(start_model(lambda _: "what?"), Predict(TRIAGE), trainset=rows(2), valset=rows(2))


async def test_a_metric_that_fails_ends_the_compile_with_its_row(start_model):
    def broken(example, prediction, trace=None):
        raise KeyError(example.text)

    with pytest.raises(MetricError, match="metric broken failed on row 0: KeyError: 'text0'"):
        await compiled(start_model(knowing()), Predict(TRIAGE), trainset=rows(1), metric=broken)


class Empty(Module):
    """Has no predictor."""


BARE = [Example(text="a", team="b")]


@pytest.mark.parametrize(
    ("given", "kind", "complaint"),
    [
        ({"trainset": []}, DatasetError, "training set has no rows"),
        ({"valset": []}, DatasetError, "validation set has no rows"),
        ({"trainset": BARE}, DatasetError, r"training set, row 0: .*with_inputs"),
        ({"valset": [*rows(1), *BARE]}, DatasetError, r"validation set, row 1: .*with_inputs"),
        ({"metric": None, "valset": rows(1)}, ConfigurationError, "needs a metric"),
        ({"program": Empty()}, ConfigurationError, "no predictor"),
        ({"teacher": Twice()}, ConfigurationError, "same predictors"),
    ],
)
async def test_what_no_compile_could_use_is_refused_before_any_call(provider, given, kind, complaint):
    arguments = {"program": Predict(TRIAGE), "trainset": rows(2), "valset": rows(2)} | given
    with pytest.raises(kind, match=complaint):
        await compiled(provider, arguments.pop("program"), **arguments)
    assert provider.stats().requests == 0


@pytest.mark.parametrize("options", [{"max_bootstrapped_demos": -1}, {"max_labeled_demos": -1}, {"max_rounds": 0}])
def test_options_that_make_no_sense_are_named(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        BootstrapFewShot.from_options(options)


async def test_demos_make_an_honest_learner_better(provider):
    words = {
        "billing": "invoice refund charge card",
        "bug": "crash error freeze screen",
        "sales": "price offer plan quote",
    }
    data = [
        Example(text=f"my {first} and {second}", team=team).with_inputs("text")
        for team, text in words.items()
        for first in text.split()
        for second in text.split()
        if first != second
    ]
    random.Random(5).shuffle(data)
    triage = Predict("text -> team: Literal['billing', 'bug', 'sales']")
    with using(lm=lm_of(provider)):
        result = await BootstrapFewShot(metric=exact_match).compile(triage, trainset=data[:18], valset=data[18:])
    assert result.baseline_score < 60
    assert result.score > 80
