import json

import pytest
from model_servers import asked, lm_of, values_in, written

from dspex_core import ChainOfThought, Example, Predict, events, using
from dspex_core.errors import ConfigurationError, DatasetError, UnknownNameError
from dspex_core.lm import _retrying
from dspex_core.optimizers import OPTIMIZERS, MIPROv2
from dspex_core.optimizers.mipro_v2 import Schedule
from dspex_core.runtime import InProcessRuntime
from dspex_core.testing import FakeProvider, Trajectory, conformance_program, conformance_rows

TRIAGE = "text -> team"
SMALL = {"auto": None, "num_candidates": 3, "num_trials": 4, "minibatch": False}
PROPOSAL_OUTPUTS = ("proposed_instruction", "description", "summary", "observations")


def rows(count, start=0):
    return [Example(text=f"text{n}", team=f"team{n}").with_inputs("text") for n in range(start, start + count)]


def system_of(messages):
    return messages[0]["content"]


def asks_for(messages):
    """Which answer of the prompt model is wanted; None if the program itself is asked."""
    return next((name for name in PROPOSAL_OUTPUTS if f"[[ ## {name} ## ]]" in system_of(messages)), None)


def heeding(messages):
    """A model that knows all teams once its instruction says "heed", and proposes just that."""
    wanted = asks_for(messages)
    if wanted is not None:
        return written(**{wanted: f"heed {wanted}"})
    number = asked(messages)["text"].removeprefix("text")
    return written(team=f"team{number}" if "heed proposed_instruction" in system_of(messages) else "unknown")


async def compiled(model, program=None, *, concurrency=None, trainset, valset=None, teacher_lm=None, **options):
    with using(runtime=InProcessRuntime(lm_of(model), concurrency=concurrency)):
        optimizer = MIPROv2(**{"metric": "exact_match"} | options)
        return await optimizer.compile(
            program or Predict(TRIAGE), trainset=trainset, valset=valset, teacher_lm=teacher_lm
        )  # fmt: skip


def proposals_in(model):
    return [
        values_in(messages[-1]["content"]) for messages in model.conversations
        if asks_for(messages) == "proposed_instruction"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("auto", "predictors", "zero_shot", "schedule"),
    [
        ("light", 1, False, Schedule(instructions=3, demo_sets=6, trials=10, minibatch=35, steps=5)),
        ("light", 2, False, Schedule(instructions=3, demo_sets=6, trials=20, minibatch=35, steps=5)),
        ("light", 1, True, Schedule(instructions=6, demo_sets=6, trials=9, minibatch=35, steps=5)),
        ("medium", 1, False, Schedule(instructions=6, demo_sets=12, trials=18, minibatch=35, steps=5)),
        ("heavy", 3, False, Schedule(instructions=9, demo_sets=18, trials=50, minibatch=35, steps=5)),
    ],
)
def test_auto_means_what_it_means_in_dspy(auto, predictors, zero_shot, schedule):
    shots = {"max_bootstrapped_demos": 0, "max_labeled_demos": 0} if zero_shot else {}
    assert MIPROv2(auto=auto, **shots).schedule(predictors=predictors, val_rows=2000) == schedule


def test_few_validation_rows_are_all_used_in_every_trial_where_auto_decides():
    assert MIPROv2().schedule(predictors=1, val_rows=50).minibatch is None
    assert MIPROv2().schedule(predictors=1, val_rows=51).minibatch == 35
    assert MIPROv2(minibatch=False).schedule(predictors=1, val_rows=500).minibatch is None


def test_a_plan_tells_what_the_search_scores_at_most():
    schedule = MIPROv2().schedule(predictors=1, val_rows=100)
    assert (schedule.full_evaluations, schedule.metric_calls(100)) == (2, 100 + 10 * 35 + 2 * 100)
    assert Schedule(instructions=3, demo_sets=6, trials=7, minibatch=10, steps=5).full_evaluations == 2
    assert Schedule(instructions=3, demo_sets=6, trials=7, minibatch=None, steps=5).metric_calls(20) == 160


async def test_an_instruction_that_helps_is_proposed_found_and_kept(start_model):
    model = start_model(heeding)
    result = await compiled(model, trainset=rows(6), valset=rows(5, start=6), **SMALL)
    assert (result.baseline_score, result.score) == (0.0, 100.0)
    assert result.program.get_state().predictors["self"].instructions == "heed proposed_instruction"
    assert [candidate.index for candidate in result.candidates] == list(range(5))


@pytest.mark.slow
async def test_a_run_makes_the_calls_that_its_plan_says(start_model):
    model = start_model(heeding)
    result = await compiled(
        model,
        trainset=rows(30),
        valset=rows(60, start=30),
        auto="light",
        max_labeled_demos=2,
        seed=4,
        racing=False,
    )
    schedule = MIPROv2().schedule(predictors=1, val_rows=60)
    wanted = [asks_for(messages) for messages in model.conversations]
    assert wanted.count("observations") == 3
    assert wanted.count("summary") == wanted.count("description") == 1
    assert wanted.count("proposed_instruction") == schedule.instructions - 1
    partial = [candidate for candidate in result.candidates if candidate.rows is not None]
    complete = [candidate for candidate in result.candidates if candidate.rows is None]
    assert (len(partial), len(complete)) == (schedule.trials, 1 + schedule.full_evaluations)
    assert {candidate.rows for candidate in partial} == {35}
    scored = sum(candidate.usage.lm_calls + candidate.usage.cached_calls for candidate in result.candidates)
    assert scored <= schedule.metric_calls(60)


@pytest.mark.parametrize(
    ("parallel", "scored"),
    [(2, [None, 4, 4, None, 4, 4, None, 4, None]), (10, [None, 4, 4, 4, 4, 4, None, None, None])],
)
async def test_full_evaluations_follow_each_batch_one_for_every_few_trials(start_model, parallel, scored):
    result = await compiled(
        start_model(heeding), trainset=rows(6), valset=rows(12, start=6), auto=None, num_candidates=3, num_trials=5,
        minibatch_size=4, minibatch_full_eval_steps=2, parallel_trials=parallel,
    )  # fmt: skip
    assert [candidate.rows for candidate in result.candidates] == scored
    for candidate in result.candidates:
        if candidate.index and candidate.rows is None:
            tried = result.candidates[candidate.parent]
            assert (tried.rows, tried.state) == (4, candidate.state)


async def test_a_combination_suggested_twice_in_a_batch_is_paid_for_once(start_model):
    result = await compiled(
        start_model(heeding), trainset=rows(6), valset=rows(12, start=6), auto=None, num_candidates=2, num_trials=10,
        minibatch_size=4,
    )  # fmt: skip
    trials = [candidate for candidate in result.candidates if candidate.rows == 4]
    states = {candidate.state.model_dump_json() for candidate in trials}
    assert len(states) < len(trials) == 10
    assert sum(candidate.usage.lm_calls + candidate.usage.cached_calls for candidate in trials) <= 4 * len(states)


async def test_the_program_as_given_is_scored_while_demos_are_bootstrapped(start_model):
    with events.subscribe(types=events.RUNS) as stream:
        await compiled(start_model(heeding), trainset=rows(6), valset=rows(4, start=6), **SMALL)
    told = [event async for event in stream]
    bootstrapping = next(n for n, event in enumerate(told) if getattr(event, "phase", "") == "bootstrapping demos")
    scored = next(n for n, event in enumerate(told) if event.type == "candidate_evaluated")
    assert bootstrapping < scored
    assert told[scored].label == "baseline"


@pytest.mark.slow
async def test_auto_scores_on_a_seeded_draw_of_the_validation_rows(start_model):
    def texts(model):
        asked_of_program = [messages for messages in model.conversations if asks_for(messages) is None]
        return {asked(messages)["text"] for messages in asked_of_program} - {f"text{n}" for n in range(5)}

    models = [start_model(heeding), start_model(heeding), start_model(heeding)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        await compiled(model, trainset=rows(5), valset=rows(130, start=5), seed=seed)
    assert [len(texts(model)) for model in models] == [100, 100, 100]
    assert texts(models[0]) == texts(models[1]) != texts(models[2])


async def test_in_zero_shot_mode_only_instructions_change(start_model):
    model = start_model(heeding)
    student = Predict(TRIAGE)
    demo = {"text": "hello", "team": "greetings"}
    student = student.with_state(student.get_state().with_demos({"self": (demo,)}))
    result = await compiled(
        model, student, trainset=rows(6), valset=rows(5, start=6), **SMALL, max_bootstrapped_demos=0,
        max_labeled_demos=0,
    )  # fmt: skip
    assert all(candidate.state.predictors["self"].demos == (demo,) for candidate in result.candidates)
    assert result.score == 100.0


@pytest.mark.parametrize(
    ("switch", "inputs"),
    [
        ("data_aware_proposer", {"data_summary", "data_rows"}),
        ("program_aware_proposer", {"program_description"}),
        ("fewshot_aware_proposer", {"step_examples"}),
        ("tip_aware_proposer", {"tip"}),
    ],
)
async def test_a_proposer_switched_off_is_not_told(start_model, switch, inputs):
    told = []
    for on in (True, False):
        model = start_model(heeding)
        options = SMALL | {"num_candidates": 8, switch: on}
        await compiled(model, trainset=rows(6), valset=rows(2, start=6), **options)
        told.append({name for values in proposals_in(model) for name in values})
    assert inputs <= told[0]
    assert told[1] == told[0] - inputs


async def test_a_proposal_sees_rows_as_json_and_examples_of_its_step(start_model):
    def right(messages):
        wanted = asks_for(messages)
        return written(**{wanted: "x"}) if wanted else written(team=f"team{asked(messages)['text'][4:]}")

    model = start_model(right)
    await compiled(model, trainset=rows(8), valset=rows(2, start=8), **SMALL, view_data_batch_size=4)
    (first, *_) = proposals_in(model)
    shown = [json.loads(line) for line in first["data_rows"].splitlines()]
    assert len(shown) == 4
    assert all(row in [one.to_dict() for one in rows(8)] for row in shown)
    examples = [json.loads(line) for line in first["step_examples"].splitlines()]
    assert len(examples) == 3
    assert all(example.keys() == {"text", "team"} for example in examples)


async def test_proposals_are_samples_of_the_prompt_model_at_its_temperature(start_model):
    model, prompt_model = start_model(heeding), start_model(heeding)
    await compiled(
        model, trainset=rows(4), valset=rows(2, start=4), **SMALL, prompt_model=lm_of(prompt_model),
        init_temperature=0.5,
    )  # fmt: skip
    assert all(asks_for(messages) is None for messages in model.conversations)
    bodies = {asks_for(body["messages"]): body["temperature"] for body in prompt_model.bodies}
    assert set(bodies) == set(PROPOSAL_OUTPUTS)
    assert (bodies["proposed_instruction"], bodies["summary"]) == (0.5, 0.0)


async def test_candidates_run_on_the_task_model(start_model):
    model, task_model = start_model(heeding), start_model(heeding)
    result = await compiled(
        model, trainset=rows(4), valset=rows(2, start=4), **SMALL, task_model=lm_of(task_model).config
    )
    assert all(asks_for(messages) is not None for messages in model.conversations)
    assert result.score == 100.0
    assert result.program.get_state().predictors["self"].lm is None


async def test_demos_come_from_the_teachers_model(start_model):
    model, teacher = start_model(heeding), start_model(lambda m: written(team=f"team{asked(m)['text'][4:]}"))
    result = await compiled(
        model, trainset=rows(6), valset=rows(2, start=6), **SMALL, teacher_lm=lm_of(teacher), max_labeled_demos=0
    )
    assert teacher.bodies
    assert any(candidate.state.predictors["self"].demos for candidate in result.candidates)


async def test_an_unreadable_proposal_is_left_out(start_model):
    def mute(messages):
        wanted = asks_for(messages)
        return "no fields here" if wanted else written(team="team0")

    result = await compiled(start_model(mute), trainset=rows(4), valset=rows(2), **SMALL)
    given = Predict(TRIAGE).get_state().predictors["self"].instructions
    assert {candidate.state.predictors["self"].instructions for candidate in result.candidates} == {given}


async def test_each_predictor_of_a_program_gets_instructions_and_demos_of_its_own(start_model):
    def answer(messages):
        wanted = asks_for(messages)
        if wanted:
            return written(**{wanted: f"{wanted} for {values_in(messages[-1]['content']).get('step')}"})
        values = asked(messages)
        if "text" in values:
            return written(topic=values["text"])
        return written(team=f"team{values['topic'].removeprefix('text')}")

    model = start_model(answer)
    program = Predict("text -> topic") | Predict("topic -> team")
    result = await compiled(model, program, trainset=rows(6), valset=rows(3, start=6), **SMALL | {"num_trials": 8})
    names = list(program.get_state().predictors)
    assert {values["step"] for values in proposals_in(model)} == set(names)
    for candidate in result.candidates:
        for name in names:
            instructions = candidate.state.predictors[name].instructions
            assert "proposed" not in instructions or instructions == f"proposed_instruction for {name}"
    assert len({candidate.label for candidate in result.candidates}) > 3


@pytest.mark.slow
async def test_over_http_a_seed_gives_one_better_program_at_any_concurrency():
    trainset, valset = conformance_rows(40), conformance_rows(60, start=40)
    found = []
    async with FakeProvider() as provider:
        for concurrency in (2, 16):
            with using(runtime=InProcessRuntime(lm_of(provider, cache=False), concurrency=concurrency)):
                found.append(
                    await MIPROv2(metric="exact_match").compile(conformance_program(), trainset=trainset, valset=valset)
                )
    first, second = found
    assert first.candidates == second.candidates
    assert first.program.get_state() == second.program.get_state()
    assert first.usage.lm_calls == second.usage.lm_calls
    assert first.score > first.baseline_score + 30
    winner = first.program.get_state().predictors["self"]
    assert winner.instructions != conformance_program().get_state().predictors["self"].instructions


@pytest.mark.parametrize("kinds", ["malformed", "429,500"])
async def test_faults_of_a_fifth_of_the_calls_change_no_candidate_no_score_and_no_winner(kinds, monkeypatch):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.05)
    trainset, valset = conformance_rows(40), conformance_rows(60, start=40)
    found = []
    for rate in (0.0, 0.2):
        async with FakeProvider(latency_ms=2, fault_rate=rate, fault_kinds=kinds) as provider:
            with using(runtime=InProcessRuntime(lm_of(provider, cache=False), concurrency=16)):
                result = await MIPROv2(metric="exact_match").compile(
                    conformance_program(), trainset=trainset, valset=valset
                )
        found.append((Trajectory.of(result), [(each.rows, each.estimate, each.failed) for each in result.candidates]))
    assert found[0] == found[1]


async def test_events_tell_trials_with_parent_rows_and_score(start_model):
    with events.subscribe() as stream:
        result = await compiled(
            start_model(heeding), trainset=rows(6), valset=rows(12, start=6), auto=None, num_candidates=3,
            num_trials=2, minibatch_size=4,
        )  # fmt: skip
    told = [event async for event in stream if event.type == "candidate_evaluated"]
    assert [(event.index, event.score, event.rows, event.parent) for event in told] == [
        (candidate.index, candidate.score, candidate.rows, candidate.parent) for candidate in result.candidates
    ]
    assert [event.parent for event in told][:3] == [None, 0, 0]


async def test_without_a_validation_set_four_fifths_of_the_rows_score(start_model):
    model = start_model(heeding)
    result = await compiled(model, trainset=rows(10), **SMALL)
    assert result.score == 100.0
    scored = {asked(messages)["text"] for messages in model.conversations if asks_for(messages) is None}
    assert {f"text{n}" for n in range(2, 10)} <= scored
    with pytest.raises(DatasetError, match="needs 2 training rows"):
        await compiled(model, trainset=rows(1), **SMALL)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"auto": "huge"}, ConfigurationError, "MIPROv2 option 'auto': .*'light', 'medium' or 'heavy'"),
        ({"auto": None}, ConfigurationError, "needs num_candidates and num_trials"),
        ({"auto": None, "num_candidates": 6}, ConfigurationError, "for 6 candidates and one predictor, 10 trials"),
        ({"num_trials": 6}, ConfigurationError, "auto='light' decides num_candidates and num_trials"),
        ({"trails": 6}, UnknownNameError, "num_trials"),
        ({"prompt_model": "gpt"}, ConfigurationError, "write provider/model"),
        (SMALL | {"minibatch": True, "minibatch_size": 9}, ConfigurationError, "9 rows does not fit .* of 4"),
        ({"metric": None}, ConfigurationError, "needs a metric"),
    ],
)
async def test_options_that_cannot_be_are_refused_before_any_call(start_model, options, error, message):
    model = start_model(heeding)
    with pytest.raises(error, match=message):
        await compiled(model, trainset=rows(4), valset=rows(4), **options)
    assert model.bodies == []


def test_options_survive_being_written_down():
    optimizer = MIPROv2(metric="exact_match", prompt_model="openai/gpt-4o", seed=0, requires_permission_to_run=False)
    again = OPTIMIZERS["mipro_v2"].from_options(optimizer.model_dump(mode="json"))
    assert again == optimizer
    assert (again.prompt_model.model, again.seed) == ("openai/gpt-4o", 0)


async def test_reasoning_programs_keep_their_reasoning_in_demos(start_model):
    def right(messages):
        wanted = asks_for(messages)
        number = "" if wanted else asked(messages)["text"][4:]
        return written(**{wanted: "x"}) if wanted else written(reasoning=f"why{number}", team=f"team{number}")

    result = await compiled(
        start_model(right), ChainOfThought(TRIAGE), trainset=rows(8), valset=rows(2, start=8), **SMALL,
        max_labeled_demos=0,
    )  # fmt: skip
    shown = [demo for candidate in result.candidates for demo in candidate.state.predictors["predict"].demos]
    assert shown
    assert all(demo["reasoning"] == f"why{demo['text'][4:]}" for demo in shown)
