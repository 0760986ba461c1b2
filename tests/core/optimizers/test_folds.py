"""Compiles that are cross-validated."""

import pytest
from model_servers import asked, lm_of, written

from dspex_core import Example, Predict, events, using
from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.optimizers import OPTIMIZERS, BootstrapFewShot, LabeledFewShot, MIPROv2, Optimizer
from dspex_core.progress import Progress
from dspex_core.runtime import InProcessRuntime
from dspex_core.testing import conformance_program, conformance_rows

ROWS = [Example(text=f"text{n}", team=f"team{n % 3}").with_inputs("text") for n in range(12)]
STUDENT = Predict("text -> team")
SMALL = {
    "better_together": {"strategy": "p", "p": LabeledFewShot(k=4)},
    "bootstrap_finetune": {"poll_seconds": 0.05, "metric_threshold": 0.0},
    "bootstrap_few_shot_with_random_search": {"num_candidate_programs": 2},
    "copro": {"breadth": 2, "depth": 1},
    "gepa": {"max_metric_calls": 120},
    "infer_rules": {"num_candidates": 2},
    "simba": {"bsize": 8, "num_candidates": 2, "max_steps": 1},
}


def remembering(messages):
    """A model that knows what a demo in its prompt shows, and nothing else."""
    text = asked(messages)["text"]
    shown = "\n".join(message["content"] for message in messages[:-1])
    number = int(text.removeprefix("text"))
    return written(team=f"team{number % 3}" if f"{text}\n" in shown else "unknown")


def helped(messages):
    """A model that is right once there is a demo."""
    number = int(asked(messages)["text"].removeprefix("text"))
    return written(team=f"team{number % 3}" if len(messages) > 2 else "unknown")


async def compiled(model, optimizer, *, rows=ROWS, folds=4, concurrency=None):
    with using(runtime=InProcessRuntime(lm_of(model), concurrency=concurrency)):
        return await optimizer.compile(STUDENT, trainset=rows, folds=folds)


async def test_no_row_is_scored_by_a_program_that_was_found_with_it(start_model):
    model = start_model(remembering)
    result = await compiled(model, LabeledFewShot(metric="exact_match", k=16))
    assert (result.baseline_score, result.score) == (0.0, 0.0)
    assert result.best_scores == (0.0,) * 12
    with using(lm=lm_of(model)):
        seen = await LabeledFewShot(metric="exact_match", k=16).compile(STUDENT, trainset=ROWS, valset=ROWS)
    assert seen.score == 100.0


async def test_the_program_is_found_with_all_rows_and_its_score_is_that_of_the_folds(start_model):
    result = await compiled(start_model(helped), LabeledFewShot(metric="exact_match", k=16))
    assert len(result.program.get_state().predictors["self"].demos) == 12
    assert (result.baseline_score, result.score) == (0.0, 100.0)
    assert result.best_scores == (1.0,) * 12
    assert sorted(row for fold in result.folds for row in fold.rows) == list(range(12))
    assert [(len(fold.rows), fold.baseline_score, fold.score, fold.gain) for fold in result.folds] == [
        (3, 0.0, 100.0, 100.0)
    ] * 4
    assert [candidate.rows for candidate in result.candidates] == [None, 3, 3, 3, 3, None]
    assert [len(candidate.state.predictors["self"].demos) for candidate in result.candidates] == [0, 9, 9, 9, 9, 12]
    assert result.gain.mean == 100.0
    assert "gain in 4 folds" in result.report()


async def test_what_does_worse_in_the_folds_leaves_the_program_as_it_was(start_model):
    model = start_model(lambda messages: written(team="unknown" if len(messages) > 2 else "team0"))
    result = await compiled(model, LabeledFewShot(metric="exact_match"))
    assert result.program.get_state() == STUDENT.get_state()
    assert result.score == result.baseline_score == 33.33
    assert result.best_scores == result.baseline_scores
    assert [fold.gain <= 0 for fold in result.folds] == [True] * 4


@pytest.mark.parametrize("name", OPTIMIZERS)
async def test_every_optimizer_can_be_cross_validated_and_its_plan_tells_what_it_takes(name, provider):
    optimizer = OPTIMIZERS[name](metric="exact_match", seed=1, **SMALL.get(name, {}))
    rows = conformance_rows(20)
    trajectories = []
    for concurrency in (1, 8):
        with using(runtime=InProcessRuntime(lm_of(provider), concurrency=concurrency)):
            result = await optimizer.compile(conformance_program(), trainset=rows, folds=2)
        trajectories.append((result.candidates, result.folds, result.best_scores, result.program.get_state()))
    assert trajectories[0] == trajectories[1]
    assert len(result.best_scores) == 20
    plan = await optimizer.plan(conformance_program(), trainset=rows, folds=2)
    calls = result.usage.lm_calls + result.usage.cached_calls
    assert plan.lm_calls.low * 0.7 <= calls <= plan.lm_calls.high * 1.3


async def test_watchers_see_folds_and_nothing_of_the_candidates_within(start_model):
    with events.subscribe() as stream:
        result = await compiled(start_model(helped), BootstrapFewShot(metric="exact_match"), folds=3)
    progress, details = Progress(), set()
    async for event in stream:
        progress = progress.after(event)
        details |= {event.detail} if event.type == "phase_started" else set()
    assert progress.finished
    assert [each.index for each in progress.candidates] == [0, 1, 2, 3, 4]
    assert progress.best_score == result.score
    assert progress.usage == result.usage
    assert {"fold 1 of 3", "fold 3 of 3", "all rows"} <= {detail.partition(",")[0] for detail in details}


@pytest.mark.parametrize(
    ("optimizer", "given", "error"),
    [
        (LabeledFewShot(metric="exact_match"), {"folds": 1}, (ConfigurationError, "2 folds or more")),
        (LabeledFewShot(metric="exact_match"), {"folds": 14}, (DatasetError, "cannot be split into 14 folds")),
        (LabeledFewShot(metric="exact_match"), {"folds": 3, "valset": ROWS}, (ConfigurationError, "leave out")),
        (LabeledFewShot(), {"folds": 3}, (ConfigurationError, "needs a metric")),
        (MIPROv2(metric="exact_match"), {"folds": 2, "trainset": ROWS[:2]}, (DatasetError, "2 training rows at least")),
    ],
)  # fmt: skip
async def test_folds_that_make_no_sense_are_refused_before_any_call(start_model, optimizer, given, error):
    model = start_model(helped)
    with using(lm=lm_of(model)), pytest.raises(error[0], match=error[1]):
        await optimizer.compile(STUDENT, **{"trainset": ROWS} | given)
    assert model.bodies == []


async def test_an_optimizer_of_a_users_own_needs_nothing_for_it(start_model):
    class FirstRow(Optimizer):
        name = "first_row"

        async def search(self, search):
            demos = await search.labeled_demos([0])
            return search.student.get_state().with_demos({"self": demos})

    result = await compiled(start_model(helped), FirstRow(metric="exact_match"), folds=2)
    assert result.score == 100.0
    shown = [candidate.state.predictors["self"].demos[0]["text"] for candidate in result.candidates[1:]]
    first = [min(set(range(12)) - set(fold.rows)) for fold in result.folds]
    assert shown == [f"text{row}" for row in [*first, 0]]
