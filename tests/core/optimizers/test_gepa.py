import json
import re
from dataclasses import replace

import pytest
from aiohttp import web
from model_servers import asked, lm_of, values_in, written

from dspex_core import Example, Predict, Prediction, Score, events, using
from dspex_core.errors import ConfigurationError, DatasetError, LMAuthenticationError, MetricError
from dspex_core.optimizers import GEPA
from dspex_core.optimizers.gepa import NoLoss
from dspex_core.runtime import InProcessRuntime
from dspex_core.testing import FakeProvider, conformance_program, conformance_rows

TRIAGE = "text -> team"
GIVEN = Predict(TRIAGE).get_state().predictors["self"].instructions


def rows(count, start=0):
    return [Example(text=f"text{n}", team=f"team{n}").with_inputs("text") for n in range(start, start + count)]


def system_of(messages):
    return messages[0]["content"]


def reflects(messages):
    return "improved_instruction" in system_of(messages)


def runs_in(messages):
    return [json.loads(line) for line in values_in(messages[-1]["content"])["runs"].splitlines()]


def reflections_of(model):
    return [messages for messages in model.conversations if reflects(messages)]


def learning(messages):
    """A model that knows the teams whose numbers its instruction holds, and writes down those that it is told of."""
    if reflects(messages):
        told = re.findall(r"Wanted: team: team(\d+)", messages[-1]["content"])
        present = values_in(messages[-1]["content"])["present_instruction"]
        return written(improved_instruction=" ".join([present, *(f"<{number}>" for number in told)]))
    number = asked(messages)["text"].removeprefix("text")
    return written(team=f"team{number}" if f"<{number}>" in system_of(messages) else "unknown")


def dull(messages):
    """A model that never learns, and whose every instruction is another."""
    if reflects(messages):
        dull.count += 1
        return written(improved_instruction=f"be good {dull.count}")
    return written(team="unknown")


dull.count = 0


class Counted:
    """A metric that says how often it was asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, example, prediction, trace=None):
        self.calls += 1
        return example.team == prediction.team


async def compiled(model, program=None, *, concurrency=None, trainset, valset=None, optimizer=GEPA, **options):
    with using(runtime=InProcessRuntime(lm_of(model, cache=False), concurrency=concurrency)):
        chosen = optimizer(**{"metric": "exact_match"} | options)
        return await chosen.compile(program or Predict(TRIAGE), trainset=trainset, valset=valset)


def instructions_of(result):
    return result.program.get_state().predictors["self"].instructions


async def test_instructions_that_runs_teach_are_found_and_their_lineage_is_told(start_model):
    with events.subscribe(types={"candidate_evaluated"}) as stream:
        result = await compiled(start_model(learning), trainset=rows(9), valset=rows(9), max_metric_calls=400)
    assert (result.baseline_score, result.score) == (0.0, 100.0)
    assert {f"<{number}>" for number in range(9)} <= set(instructions_of(result).split())
    for candidate in result.candidates[1:]:
        parent = result.candidates[candidate.parent]
        grown, given = (one.state.predictors["self"].instructions for one in (candidate, parent))
        assert grown.startswith(given)
        assert candidate.rows is None
    told = [(event.index, event.parent) async for event in stream]
    assert told == [(candidate.index, candidate.parent) for candidate in result.candidates]


async def test_the_search_ends_once_every_validation_row_is_perfect(start_model):
    metric = Counted()
    result = await compiled(
        start_model(learning), trainset=rows(3), valset=rows(3), metric=metric, parallel_proposals=1
    )
    assert [candidate.score for candidate in result.candidates] == [0.0, 100.0]
    assert metric.calls == 3 + 3 + 3 + 3


async def test_a_program_that_is_perfect_costs_its_validation_and_nothing_more(start_model):
    model = start_model(lambda messages: written(team=f"team{asked(messages)['text'][4:]}"))
    result = await compiled(model, trainset=rows(5), valset=rows(4))
    assert result.score == 100.0
    assert len(model.bodies) == 4


@pytest.mark.slow
@pytest.mark.parametrize("parallel_proposals", [1, 3, 8])
@pytest.mark.parametrize("model", [learning, dull])
async def test_the_budget_is_spent_and_never_overshot(start_model, model, parallel_proposals):
    served = start_model(model)
    for budget in (51, 62, 83):
        metric = Counted()
        result = await compiled(
            served, trainset=rows(40), valset=rows(13, start=20), metric=metric, max_metric_calls=budget,
            parallel_proposals=parallel_proposals,
        )  # fmt: skip
        assert budget - 13 - 6 < metric.calls <= budget
        assert result.candidates[0].rows is None


async def test_what_is_no_better_on_its_minibatch_is_not_scored_on_the_validation_set(start_model):
    model, metric = start_model(dull), Counted()
    result = await compiled(model, trainset=rows(30), valset=rows(10), metric=metric, max_metric_calls=60)
    assert [candidate.label for candidate in result.candidates] == ["baseline"]
    # Every proposal but the first takes 3 runs of its parent and 3 of its own; what is left would not do for another.
    assert len(reflections_of(model)) == (60 - 10 - 10) // 6
    assert instructions_of(result) == GIVEN


async def test_a_seed_gives_one_result_at_any_concurrency_and_finds_better_instructions():
    trainset, valset = conformance_rows(40), conformance_rows(20, start=40)
    found = []
    async with FakeProvider() as provider:
        for concurrency in (1, 16):
            with using(runtime=InProcessRuntime(lm_of(provider, cache=False), concurrency=concurrency)):
                optimizer = GEPA(metric="exact_match", max_metric_calls=250, seed=5)
                found.append(await optimizer.compile(conformance_program(), trainset=trainset, valset=valset))
    assert found[0].candidates == found[1].candidates
    assert found[0].usage.lm_calls == found[1].usage.lm_calls
    assert found[0].score >= found[0].baseline_score + 20


async def test_two_seeds_reflect_on_other_rows(start_model):
    shown = []
    for seed in (0, 1):
        model = start_model(dull)
        await compiled(model, trainset=rows(30), valset=rows(5), max_metric_calls=40, seed=seed)
        shown.append([[run["step"]["text"] for run in runs_in(messages)] for messages in reflections_of(model)])
    assert shown[0] != shown[1]


async def test_reflection_reads_the_metrics_words(start_model):
    def with_words(example, prediction, trace=None):
        return Score(value=0.25, feedback=f"{example.text} speaks of {example.team}")

    model = start_model(dull)
    await compiled(model, trainset=rows(3), valset=rows(2), metric=with_words, max_metric_calls=20)
    for run in runs_in(reflections_of(model)[0]):
        number = run["step"]["text"].removeprefix("text")
        assert run == {
            "step": {"text": f"text{number}", "team": "unknown"},
            "score": 0.25,
            "feedback": f"text{number} speaks of team{number}",
        }


async def test_without_words_reflection_is_told_what_was_right_and_what_would_have_been(start_model):
    def half(messages):
        if reflects(messages):
            return written(improved_instruction="x")
        number = asked(messages)["text"].removeprefix("text")
        return written(team="team0" if number == "0" else "unknown")

    model = start_model(half)
    await compiled(model, trainset=rows(3), valset=rows(2), max_metric_calls=20)
    feedback = {run["step"]["text"]: run["feedback"] for run in runs_in(reflections_of(model)[0])}
    assert feedback == {
        "text0": "Right.", "text1": "Not right. Wanted: team: team1", "text2": "Not right. Wanted: team: team2",
    }  # fmt: skip


async def test_what_went_wrong_on_a_row_is_feedback_with_the_rows_inputs(start_model):
    model = start_model(lambda messages: written(improved_instruction="x") if reflects(messages) else "no fields here")
    with pytest.raises(Exception, match="failed on every row"):
        await compiled(model, trainset=rows(3), valset=rows(2), max_metric_calls=20)
    run = runs_in(reflections_of(model)[0])[0]
    assert run["inputs"]["text"].startswith("text")
    assert run["score"] == 0.0
    assert "AdapterParseError" in run["feedback"]
    assert "Wanted: team: team" in run["feedback"]


async def test_a_metric_with_dspys_signature_is_asked_about_the_predictor_to_be_changed(start_model):
    seen = []

    def by_part(gold, pred, trace, pred_name, pred_trace):
        if pred_name is None:
            return 0.0
        seen.append((pred_name, [sorted(outputs) for _, _, outputs in pred_trace], len(trace)))
        return Prediction(score=0.0, feedback=f"{pred_name} should try harder")

    def answer(messages):
        if reflects(messages):
            return written(improved_instruction="x")
        return written(topic="t") if "text" in asked(messages) else written(team="unknown")

    model = start_model(answer)
    program = Predict("text -> topic") | Predict("topic -> team")
    first, second = program.get_state().predictors
    await compiled(model, program, trainset=rows(6), valset=rows(2), metric=by_part, max_metric_calls=20)
    assert set(map(str, seen)) == {str((first, [["topic"]], 2)), str((second, [["team"]], 2))}
    told = [{run["feedback"] for run in runs_in(messages)} for messages in reflections_of(model)]
    assert told[:2] == [{f"{first} should try harder"}, {f"{second} should try harder"}]
    assert runs_in(reflections_of(model)[0])[0]["answer of the program"]["team"] == "unknown"


def two_skills(messages):
    """Even rows need a first predictor that was told to be keen, odd rows a second one."""
    values, keen = asked(messages), "keen" in system_of(messages)
    if reflects(messages):
        return written(improved_instruction="be keen")
    if "text" in values:
        return written(topic=f"{values['text'].removeprefix('text')} {keen}")
    number, first_keen = values["topic"].split()
    right = first_keen == "True" if int(number) % 2 == 0 else keen
    return written(team=f"team{number}" if right else "unknown")


async def test_candidates_that_improved_different_predictors_are_merged(start_model):
    program = Predict("text -> topic") | Predict("topic -> team")
    with events.subscribe(types={"candidate_evaluated"}) as stream:
        result = await compiled(
            start_model(two_skills), program, trainset=rows(30), valset=rows(12, start=30), max_metric_calls=300,
            parallel_proposals=2,
        )  # fmt: skip
    # The merge was tried on a few rows first.
    assert [(candidate.score, candidate.rows) for candidate in result.candidates] == [
        (0.0, None), (50.0, None), (50.0, None), (100.0, 5), (100.0, None),
    ]  # fmt: skip
    assert result.score == 100.0
    merged = result.candidates[-1]
    assert (merged.label, merged.parent, merged.merged_with) == ("merge of 1 and 2", 1, 2)
    told = [event async for event in stream]
    assert (told[-1].parent, told[-1].merged_with) == (1, 2)


async def test_a_merge_that_does_worse_than_a_parent_on_a_few_rows_is_dropped(start_model):
    def spoilt(messages):
        """Each predictor does better with another instruction, but not both at once."""
        values, keen = asked(messages), "keen" in system_of(messages)
        if not reflects(messages) and "topic" in values and values["topic"].endswith("True") and keen:
            return written(team="unknown")
        return two_skills(messages)

    program = Predict("text -> topic") | Predict("topic -> team")
    result = await compiled(
        start_model(spoilt), program, trainset=rows(30), valset=rows(12, start=30), max_metric_calls=150,
        parallel_proposals=2,
    )  # fmt: skip
    merged = [candidate for candidate in result.candidates if candidate.merged_with is not None]
    assert [(candidate.score, candidate.rows) for candidate in merged] == [(0.0, 5)]
    assert result.score == 50.0


async def test_without_merging_the_same_is_found_by_reflection_alone(start_model):
    program = Predict("text -> topic") | Predict("topic -> team")
    result = await compiled(
        start_model(two_skills), program, trainset=rows(30), valset=rows(12, start=30), max_metric_calls=300,
        use_merge=False,
    )  # fmt: skip
    assert result.score == 100.0
    assert all(candidate.merged_with is None for candidate in result.candidates)


async def test_all_predictors_can_be_changed_at_once(start_model):
    program = Predict("text -> topic") | Predict("topic -> team")
    result = await compiled(
        start_model(two_skills), program, trainset=rows(30), valset=rows(12, start=30), max_metric_calls=300,
        component_selector="all",
    )  # fmt: skip
    assert [candidate.score for candidate in result.candidates][1] == 100.0


def halfway(messages):
    """Reflection always ends at the same words, which help with even rows; row 0 is known anyway."""
    if reflects(messages):
        return written(improved_instruction="be keen")
    number = asked(messages)["text"].removeprefix("text")
    right = number == "0" or ("keen" in system_of(messages) and int(number) % 2 == 0)
    return written(team=f"team{number}" if right else "unknown")


async def test_a_state_joins_the_pool_once_however_often_it_is_proposed(start_model):
    result = await compiled(start_model(halfway), trainset=rows(12), valset=rows(6), max_metric_calls=120)
    assert [candidate.score for candidate in result.candidates] == [16.67, 50.0]


@pytest.mark.parametrize(("skip", "reflections"), [(True, 0), (False, 1)])
async def test_perfect_runs_teach_nothing_unless_they_are_to(start_model, skip, reflections):
    model = start_model(halfway)
    trainset = [example for example in rows(1) for _ in range(3)]
    await compiled(model, trainset=trainset, valset=rows(2), max_metric_calls=20, skip_perfect_score=skip)
    assert min(1, len(reflections_of(model))) == reflections


async def test_the_reflection_model_reflects_and_the_program_keeps_its_own(start_model):
    model, thinker = start_model(learning), start_model(learning)
    result = await compiled(
        model, trainset=rows(3), valset=rows(3), reflection_lm=lm_of(thinker), max_metric_calls=60
    )  # fmt: skip
    assert not reflections_of(model)
    assert len(reflections_of(thinker)) == len(thinker.bodies) >= 1
    assert result.score == 100.0
    assert result.program.get_state().predictors["self"].lm is None


async def test_an_unreadable_reflection_proposes_nothing_and_the_search_comes_to_its_end(start_model):
    metric = Counted()
    model = start_model(lambda messages: "??" if reflects(messages) else written(team="unknown"))
    result = await compiled(model, trainset=rows(4), valset=rows(3), metric=metric, max_metric_calls=30)
    assert len(result.candidates) == 1
    assert metric.calls == 3 + 4


async def test_an_outage_while_reflecting_is_an_error_and_no_verdict(start_model):
    refused = {"error": {"message": "no such key"}}
    model = start_model(lambda m: web.json_response(refused, status=401) if reflects(m) else written(team="unknown"))
    with pytest.raises(LMAuthenticationError):
        await compiled(model, trainset=rows(4), valset=rows(3), max_metric_calls=60)


async def test_a_metric_that_raises_ends_the_run(start_model):
    def broken(example, prediction, trace=None):
        raise ValueError("no way")

    with pytest.raises(MetricError, match="no way"):
        await compiled(start_model(dull), trainset=rows(4), valset=rows(3), metric=broken, max_metric_calls=60)


async def test_a_subclass_may_decide_otherwise(start_model):
    class Lenient(GEPA):
        name = "lenient_gepa"

        def strategies(self, search):
            return replace(super().strategies(search), acceptance=NoLoss())

    result = await compiled(
        start_model(dull), trainset=rows(9), valset=rows(3), max_metric_calls=40, optimizer=Lenient
    )  # fmt: skip
    assert len(result.candidates) > 1
    assert {candidate.score for candidate in result.candidates} == {0.0}


async def test_without_a_validation_set_the_training_rows_score(start_model):
    result = await compiled(start_model(learning), trainset=rows(6), max_full_evals=20)
    assert (result.baseline_score, result.score) == (0.0, 100.0)


@pytest.mark.parametrize(
    ("options", "trainset", "error", "says"),
    [
        ({"metric": None}, rows(4), ConfigurationError, "needs a metric"),
        ({"auto": "lavish"}, rows(4), ConfigurationError, "'light', 'medium' or 'heavy'"),
        ({"auto": "light", "max_metric_calls": 90}, rows(4), ConfigurationError, "auto and max_metric_calls"),
        ({"max_metric_calls": 23}, rows(4), ConfigurationError, "second proposal.*takes 4 .* up to 10; allow 24"),
        ({"max_full_evals": 1}, rows(6), ConfigurationError, "max_full_evals allows 10"),
        ({}, rows(2), DatasetError, "2 rows, fewer than reflection_minibatch_size=3"),
        ({}, [], DatasetError, "training set has no rows"),
    ],
)
async def test_what_cannot_work_is_refused_before_any_call(start_model, options, trainset, error, says):
    model = start_model(dull)
    with using(lm=lm_of(model)), pytest.raises(error, match=says):
        await GEPA.from_options({"metric": "exact_match"} | options).compile(
            Predict(TRIAGE), trainset=trainset, valset=rows(4)
        )
    assert model.bodies == []


async def test_a_teacher_program_is_refused(start_model):
    with using(lm=lm_of(start_model(dull))), pytest.raises(ConfigurationError, match="no use for a teacher program"):
        await GEPA(metric="exact_match").compile(
            Predict(TRIAGE), trainset=rows(4), valset=rows(4), teacher=Predict(TRIAGE)
        )


def test_max_full_evals_counts_rows_that_do_both_once():
    optimizer = GEPA(metric="exact_match", max_full_evals=3)
    assert optimizer.metric_calls(predictors=1, train_rows=20, val_rows=10) == 90
