import json
from collections import Counter

import pytest
from model_servers import asked, lm_of, written

from dspex_core import Example, Predict, Score, using
from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.optimizers import SIMBA
from dspex_core.runtime import InProcessRuntime
from dspex_core.testing import FakeProvider, conformance_program, conformance_rows

ROWS = [Example(text=f"text{n}", team=f"team{n}").with_inputs("text") for n in range(6)]
TRIAGE = Predict("text -> team")


class Moody:
    """Knows a row's team each second time it is asked, and always with a demo or an instruction to know all."""

    def __init__(self, advice=None):
        self.advice = advice or {}
        self.asked = Counter()
        self.compared = []

    def __call__(self, messages):
        values = asked(messages)
        if "worse_run" in values:
            self.compared.append(values)
            return written(discussion="so", advice=json.dumps(self.advice))
        number = values["text"].removeprefix("text")
        self.asked[number] += 1
        knows = len(messages) > 2 or "<all>" in messages[0]["content"] or self.asked[number] % 2 == 0
        return written(team=f"team{number}" if knows else "unknown")


def by_row(example, prediction, trace=None):
    return Score(value=float(prediction.team == example.team), feedback=f"it is {example.team}")


async def compiled(model, *, valset=ROWS, trainset=ROWS, metric=by_row, **options):
    with using(runtime=InProcessRuntime(lm_of(model, cache=False), concurrency=1)):
        optimizer = SIMBA(**{"metric": metric, "bsize": 4, "num_candidates": 2, "max_steps": 2} | options)
        return await optimizer.compile(TRIAGE, trainset=trainset, valset=valset)


def predictor_of(candidate):
    return candidate.state.predictors["self"]


async def test_the_better_run_of_a_row_becomes_a_demo_or_advice(start_model):
    moody = Moody(advice={"self": "remember <all>", "nobody": "x"})
    result = await compiled(start_model(moody), max_steps=6)
    assert [candidate.label for candidate in result.candidates] == ["baseline", "best of step 1"]
    assert (result.baseline_score, result.score) == (0.0, 100.0)
    best = [predictor_of(candidate) for candidate in result.candidates[1:]]
    assert any(state.demos for state in best) or any("remember <all>" in state.instructions for state in best)


async def test_without_demos_only_advice_is_given_and_the_adviser_sees_both_runs(start_model):
    moody = Moody(advice={"self": "remember <all>"})
    result = await compiled(start_model(moody), max_demos=0, max_steps=1)
    own = TRIAGE.get_state().predictors["self"].instructions
    last = predictor_of(result.candidates[-1])
    assert (last.instructions, last.demos) == (f"{own}\n\nremember <all>", ())
    seen = moody.compared[0]
    worse, better = json.loads(seen["worse_run"]), json.loads(seen["better_run"])
    assert (worse["score"], better["score"]) == (0.0, 1.0)
    assert worse["outputs"] == {"team": "unknown"}
    assert better["steps"]["self"][0]["team"] == json.loads(seen["row"])["team"]
    assert worse["feedback"].startswith("it is team")


async def test_advice_comes_from_the_prompt_model_and_the_first_sample_from_the_teachers(start_model):
    task, prompts, teacher = (start_model(Moody(advice={"self": "remember <all>"})) for _ in range(3))
    with using(runtime=InProcessRuntime(lm_of(task, cache=False))):
        optimizer = SIMBA(
            metric=by_row, bsize=4, num_candidates=3, max_steps=1, max_demos=0, prompt_model=lm_of(prompts)
        )
        await optimizer.compile(TRIAGE, trainset=ROWS, valset=ROWS, teacher_lm=lm_of(teacher))
    assert len(teacher.bodies) == 4
    assert all("worse_run" in asked(body["messages"]) for body in prompts.bodies)
    assert not any("worse_run" in asked(body["messages"]) for body in task.bodies)
    samples = [body["temperature"] for body in task.bodies if body.get("temperature") == 1.0]
    assert len(samples) == 2 * 4


async def test_long_texts_of_demos_are_cut_but_not_the_answer(start_model):
    rows = [Example(text=f"text{n}" + "x" * 50, team="team" + "y" * 50).with_inputs("text") for n in range(4)]

    def answer(messages):
        return written(team="team" + "y" * 50)

    result = await compiled(
        start_model(answer), trainset=rows, valset=rows, metric=lambda e, p, trace=None: hash_free(e, p),
        demo_input_field_maxlen=10, max_steps=3,
    )  # fmt: skip
    demos = [demo for candidate in result.candidates for demo in predictor_of(candidate).demos]
    assert demos
    assert {demo["team"] for demo in demos} == {"team" + "y" * 50}
    assert all(demo["text"].endswith("x … (cut)") and len(demo["text"]) < 25 for demo in demos)


def hash_free(example, prediction):
    """Another score for each row, so that some runs are above the tenth percentile."""
    return int(example.text[4]) / 4 + 0.1


async def test_where_nothing_can_be_learnt_the_student_wins_and_no_sample_is_taken_twice(start_model):
    model = start_model(lambda messages: written(team="unknown"))
    result = await compiled(model, max_steps=2)
    assert [candidate.label for candidate in result.candidates] == ["baseline"]
    assert len(model.bodies) <= len(ROWS) + 2 * len(ROWS)


async def test_rows_scored_in_a_step_are_not_scored_again_at_the_end(start_model):
    calls = []

    def counting(example, prediction, trace=None):
        calls.append(example.text)
        return by_row(example, prediction)

    model = start_model(Moody(advice={"self": "remember <all>"}))
    result = await compiled(model, metric=counting, valset=None, bsize=6, max_steps=1, max_demos=0)
    assert result.candidates[1].usage.lm_calls == 0
    assert len(calls) == len(model.bodies) - sum("worse_run" in asked(body["messages"]) for body in model.bodies)


@pytest.mark.slow
async def test_a_seed_gives_one_result_at_any_concurrency():
    trainset, valset, found = conformance_rows(40), conformance_rows(20, start=40), []
    async with FakeProvider() as provider:
        for concurrency in (1, 16):
            with using(runtime=InProcessRuntime(lm_of(provider, cache=False), concurrency=concurrency)):
                optimizer = SIMBA(metric="exact_match", bsize=16, num_candidates=4, max_steps=6, seed=5)
                found.append(await optimizer.compile(conformance_program(), trainset=trainset, valset=valset))
    assert found[0].candidates == found[1].candidates
    assert found[0].score > found[0].baseline_score + 10
    assert max(len(predictor_of(candidate).demos) for candidate in found[0].candidates) <= 4


async def test_what_cannot_be_searched_is_refused_before_any_call(start_model):
    model = start_model(Moody())
    with pytest.raises(DatasetError, match="a batch of 7 rows does not fit a training set of 6; set bsize to 6"):
        await compiled(model, bsize=7)
    with pytest.raises(ConfigurationError, match="needs a metric"):
        await compiled(model, metric=None, valset=None)
    with pytest.raises(ConfigurationError, match="temperature_for_sampling"):
        SIMBA(metric=by_row, temperature_for_sampling=0)
    assert model.bodies == []
