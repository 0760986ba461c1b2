"""Races: who is stopped, when, and what comes out of it."""

import random

import pytest
from model_servers import asked, lm_of, written

from dspex_core import Example, Predict, events, using
from dspex_core.errors import ConfigurationError
from dspex_core.optimizers import (
    COPRO,
    SIMBA,
    BootstrapFewShotWithRandomSearch,
    InferRules,
    MIPROv2,
    Proposal,
    Racing,
    Search,
)
from dspex_core.optimizers._racing import LOOKS, Race
from dspex_core.progress import Progress
from dspex_core.runtime import InProcessRuntime
from dspex_core.testing import conformance_program, conformance_rows

COURSE = tuple(range(200))
CERTAIN = Racing(confidence=1.0)


def drawn(rng, share, rows=COURSE):
    return {row: float(rng.random() < share) for row in rows}


def mean(scores):
    return 100 * sum(scores.values()) / len(scores)


def run(race, truth):
    """Run a race to its end; returns the rows that were scored, by entrant, and how many blocks it took."""
    scored, blocks = {name: [] for name in truth}, 0
    while asked_for := race.blocks():
        blocks += 1
        for name, rows in asked_for.items():
            scored[name] += rows
        race.note({name: {row: truth[name][row] for row in rows} for name, rows in asked_for.items()})
    return scored, blocks


def raced(truth, rival, racing=Racing(), course=COURSE, known=None):  # noqa: B008 - frozen
    race = Race(racing, course, {name: (known or {}).get(name, {}) for name in truth}, [rival])
    return race, *run(race, truth)


def test_who_is_far_behind_is_stopped_early_and_the_best_is_scored_on_all_rows():
    rng = random.Random(1)
    truth = {"good": drawn(rng, 0.9), "poor": drawn(rng, 0.4)}
    race, scored, blocks = raced(truth, drawn(rng, 0.5))
    assert len(scored["poor"]) < 100
    assert sorted(scored["good"]) == list(COURSE)
    assert list(race.stopped) == ["poor"]
    assert abs(race.stopped["poor"] - mean(truth["poor"])) < 12
    assert blocks == LOOKS + 1


def test_with_full_confidence_whoever_scores_highest_is_never_stopped():
    for seed in range(60):
        rng = random.Random(seed)
        truth = {str(n): drawn(rng, rng.uniform(0.3, 1.0)) for n in range(6)}
        rival = drawn(rng, 0.4)
        race, scored, _ = raced(truth, rival, CERTAIN)
        best = max(map(mean, truth.values()))
        assert all(mean(truth[name]) < best for name in race.stopped if best > mean(rival))
        assert {name for name, rows in scored.items() if len(rows) == len(COURSE)} | set(race.stopped) == set(truth)


def test_who_can_only_draw_level_is_stopped_without_any_doubt():
    perfect = dict.fromkeys(COURSE, 1.0)
    _, scored, blocks = raced({"as good": perfect}, perfect, CERTAIN)
    assert blocks == 1
    assert len(scored["as good"]) < 50


def test_who_may_still_win_goes_on_with_full_confidence():
    rival = {row: float(row % 2) for row in COURSE}
    slow_starter = {row: 1.0 - row % 2 for row in COURSE}
    _, scored, _ = raced({"slow": slow_starter}, rival, CERTAIN)
    assert len(scored["slow"]) == len(COURSE)


def test_of_many_races_at_least_as_many_as_the_confidence_says_end_with_the_best():
    lost = 0
    for seed in range(200):
        rng = random.Random(seed)
        quality = [0.55, 0.6, 0.65, 0.7]
        truth = {str(n): drawn(rng, share) for n, share in enumerate(quality)}
        race, _, _ = raced(truth, drawn(rng, 0.5), Racing(seed=seed))
        best = max(truth, key=lambda name: mean(truth[name]))
        lost += best in race.stopped
    assert lost <= 0.1 * 200


def test_rows_that_told_candidates_apart_come_sooner():
    first = {row: float(row < 100) for row in COURSE}
    second = {row: float(row < 50) for row in COURSE}
    race = Race(Racing(), COURSE, {"new": {}}, [first, second])
    block = race.blocks()["new"]
    apart = sum(50 <= row < 100 for row in block) / len(block)
    assert 0.35 < apart < 0.5  # of a quarter of the rows
    assert Race(Racing(seed=1), COURSE, {"new": {}}, [first, second]).blocks()["new"] != block


def test_rows_that_are_known_are_not_asked_for_and_count_at_once():
    rng = random.Random(3)
    rival = drawn(rng, 0.9)
    some = dict.fromkeys(COURSE[:60], 0.0)
    race, scored, blocks = raced({"known": dict.fromkeys(COURSE, 0.0)}, rival, known={"known": some})
    assert (scored["known"], blocks) == ([], 0)
    assert race.stopped["known"] < 20
    fresh = Race(CERTAIN, COURSE, {"a": drawn(rng, 1.0, COURSE[:60])}, [rival])
    assert not set(fresh.blocks()["a"]) & set(COURSE[:60])


def test_a_short_course_is_run_in_one_block():
    course = COURSE[:8]
    _, scored, blocks = raced({"a": dict.fromkeys(course, 0.0)}, dict.fromkeys(course, 0.5), course=course)
    assert (len(scored["a"]), blocks) == (8, 1)


def test_scores_above_one_leave_room_to_catch_up():
    rival = {row: 3.0 if row < 20 else 0.0 for row in COURSE}
    late = {row: 0.0 if row < 150 else 3.0 for row in COURSE}
    _, scored, _ = raced({"late": late}, rival, CERTAIN)
    assert len(scored["late"]) == len(COURSE)


def test_for_few_places_the_better_half_goes_on_after_each_block():
    course = COURSE[:40]
    truth = {str(n): {row: float((row * 7) % 40 < 5 * n) for row in course} for n in range(8)}
    rival = dict.fromkeys(course, 0.1)
    race, scored, _ = raced(truth, rival, Racing(confidence=1.0, places=2), course)
    assert sorted(len(rows) for rows in scored.values()) == [8, 8, 8, 8, 16, 16, 40, 40]
    assert set(truth) - set(race.stopped) == {"6", "7"}
    assert all(abs(race.stopped[name] - mean(truth[name])) < 35 for name in race.stopped)


def test_whoever_has_the_one_place_as_good_as_taken_is_scored_on_the_rest_at_once():
    rival = dict.fromkeys(COURSE, 0.5)
    truth = {"ahead": dict.fromkeys(COURSE, 1.0), "behind": dict.fromkeys(COURSE, 0.0)}
    race, scored, blocks = raced(truth, rival, Racing(confidence=1.0, places=1))
    assert (len(scored["ahead"]), len(scored["behind"]), blocks) == (200, 34, 2)
    assert list(race.stopped) == ["behind"]


def test_who_runs_alone_and_is_behind_is_looked_at_after_each_block():
    _, scored, blocks = raced(
        {"poor": dict.fromkeys(COURSE, 0.0)}, dict.fromkeys(COURSE, 1.0), Racing(places=1)
    )  # fmt: skip
    assert (len(scored["poor"]), blocks) == (34, 1)


ROWS = [Example(text=f"text{n}", team=f"team{n}").with_inputs("text") for n in range(60)]
STUDENT = Predict("text -> team")
STATE = STUDENT.get_state()


def told(messages):
    """A model that knows the teams whose numbers lie below the one in its instruction; it garbles those of 50 on."""
    number = int(asked(messages)["text"].removeprefix("text"))
    if number >= 50 and "garbled" in messages[0]["content"]:
        return "nonsense"
    return written(team=f"team{number}" if number < _number_in(messages[0]["content"]) else "unknown")


def _number_in(text):
    return int(text.partition("<")[2].partition(">")[0] or 0)


def knowing(number, words=""):
    predictor = STATE.predictors["self"].model_copy(update={"instructions": f"<{number}> {words}"})
    return STATE.model_copy(update={"predictors": {"self": predictor}})


def search_of(model):
    runtime = InProcessRuntime(lm_of(model))
    return Search(
        runtime, student=STUDENT, trainset=ROWS, valset=ROWS, metric="exact_match", teacher=None, teacher_lm=None
    )  # fmt: skip


async def test_a_stopped_candidate_tells_its_rows_and_an_estimate_and_never_wins(start_model):
    model = start_model(told)
    search = search_of(model)
    await search.evaluate(knowing(50), "given")
    calls = len(model.bodies)
    proposals = [Proposal(knowing(5), "poor"), Proposal(knowing(58), "good"), Proposal(knowing(5), "poor again")]
    poor, good, again = await search.evaluate_all(proposals, phase="x", racing=Racing())
    assert (good.rows, good.estimate, good.score) == (None, None, 96.67)
    assert poor.rows < 40
    assert poor.likely_score == poor.estimate < 50
    assert (again.rows, again.score, again.estimate) == (poor.rows, poor.score, poor.estimate)
    assert len(model.bodies) - calls == 60 + poor.rows
    assert search.result(STATE).program.get_state() == knowing(58)
    assert search.metric_calls == len(model.bodies)
    assert sum(each.usage.lm_calls for each in search.candidates) == search.usage.lm_calls == len(model.bodies)
    assert [each.index for each in search.candidates] == [0, 1, 2, 3]


async def test_rows_scored_before_the_race_are_not_scored_again(start_model):
    model = start_model(told)
    search = search_of(model)
    await search.evaluate(knowing(30), "given")
    await search.evaluate_all([Proposal(knowing(58), "some", rows=tuple(range(0, 60, 2)))], phase="x", racing=Racing())
    before = len(model.bodies)
    await search.evaluate_all([Proposal(knowing(58), "all")], phase="x", racing=Racing())
    assert len(model.bodies) - before == 30


async def test_rows_that_failed_count_as_in_a_score_on_all_rows(start_model):
    search = search_of(start_model(told))
    await search.evaluate(knowing(30), "given")
    [garbled] = await search.evaluate_all([Proposal(knowing(58, "garbled"), "x")], phase="x", racing=Racing())
    assert (garbled.score, garbled.failed, garbled.rows) == (83.33, 10, None)


async def test_progress_follows_a_race_block_by_block(start_model):
    model = start_model(told)
    search = search_of(model)
    with events.subscribe() as stream:
        await search.evaluate(knowing(50), "given")
        proposals = [Proposal(knowing(5), "poor"), Proposal(knowing(58), "good")]
        await search.evaluate_all(proposals, phase="racing", detail="two", racing=Racing())
    progress, details = Progress(), []
    async for event in stream:
        progress = progress.after(event)
        assert progress.rows_done <= progress.rows_total
        if event.type == "phase_started" and event.phase == "racing":
            details.append(event.detail)
    assert details[0] == "two, 2 in the race"
    assert details[-1] == "two, 1 in the race"
    assert progress.usage_so_far == search.usage
    assert [each.estimate is not None for each in progress.candidates] == [False, True, False]
    assert progress.best_score == 96.67


async def test_without_anyone_to_race_against_all_rows_are_scored(start_model):
    search = search_of(start_model(told))
    [first] = await search.evaluate_all([Proposal(knowing(5), "first")], phase="x", racing=Racing())
    assert first.rows is None


async def test_of_equal_scores_the_earlier_wins_but_for_the_program_as_given(start_model):
    search = search_of(start_model(told))
    await search.evaluate(knowing(50), "given")
    for words in ("first", "second"):
        await search.evaluate(knowing(50, words), words)
    assert search.result(STATE).program.get_state() == knowing(50, "first")


OPTIMIZERS = [
    BootstrapFewShotWithRandomSearch(metric="exact_match", num_candidate_programs=6),
    COPRO(metric="exact_match", breadth=4, depth=2),
    InferRules(metric="exact_match", num_candidates=4),
    MIPROv2(metric="exact_match", auto=None, num_candidates=4, num_trials=5, minibatch=False, seed=1),
    SIMBA(metric="exact_match", bsize=8, num_candidates=3, max_steps=3, seed=2),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer.name)
async def test_an_optimizer_scores_fewer_rows_when_its_candidates_race_and_can_do_without(optimizer, provider):
    trainset, valset = conformance_rows(40), conformance_rows(80, start=40)
    with using(lm=lm_of(provider, cache=False)):
        racing = await optimizer.compile(conformance_program(), trainset=trainset, valset=valset)
        off = optimizer.model_copy(update={"racing": False})
        without = await off.compile(conformance_program(), trainset=trainset, valset=valset)
    assert all(candidate.rows is None and candidate.estimate is None for candidate in without.candidates)
    assert any(candidate.estimate is not None for candidate in racing.candidates)
    assert racing.usage.lm_calls < without.usage.lm_calls
    assert racing.score >= without.score - 5


async def test_trials_on_a_minibatch_race_for_the_full_evaluations_that_follow_them(provider):
    optimizer = MIPROv2(metric="exact_match", auto=None, num_candidates=6, num_trials=10, minibatch_size=32)
    with using(lm=lm_of(provider, cache=False)):
        given = {"trainset": conformance_rows(40), "valset": conformance_rows(80, start=40)}
        racing = await optimizer.compile(conformance_program(), **given)
        off = await optimizer.model_copy(update={"racing": False}).compile(conformance_program(), **given)
    trials = [candidate for candidate in racing.candidates[1:] if candidate.parent == 0]
    assert len({candidate.label for candidate in trials}) == len(trials) == 10
    through = {candidate.index for candidate in trials if candidate.estimate is None}
    full = [candidate for candidate in racing.candidates[1:] if candidate.parent != 0]
    assert len(full) == 2
    assert {candidate.parent for candidate in full} <= through
    assert sum(candidate.rows is None for candidate in full) <= 1
    assert racing.usage.lm_calls < 0.8 * off.usage.lm_calls
    assert racing.score >= off.score - 5


def test_a_confidence_below_a_half_is_refused():
    with pytest.raises(ConfigurationError, match="racing_confidence"):
        COPRO(racing_confidence=0.2)
