from datetime import UTC, datetime, timedelta

from dspex_core.budget import Limits
from dspex_core.events import (
    BreakerChanged,
    BudgetSet,
    CandidateEvaluated,
    EventsLost,
    OptimizerFinished,
    OptimizerStarted,
    PhaseStarted,
    RowsEvaluated,
    UsageAdded,
)
from dspex_core.progress import Pace, Progress, RowTally
from dspex_core.usage import Usage

CALLS = Usage(lm_calls=3, cost_usd=0.1)
BASELINE = CandidateEvaluated(index=0, label="baseline", score=50.0)
BETTER = CandidateEvaluated(index=1, label="demos", score=80.0, failed=1)
WORSE = CandidateEvaluated(index=2, label="other", score=70.0)


def folded(*events):
    progress = Progress()
    for event in events:
        progress = progress.after(event)
    return progress


def test_before_anything_happened_nothing_is_known():
    progress = Progress()
    assert (progress.phase, progress.baseline_score, progress.best_score, progress.finished) == (
        "starting", None, None, False,
    )  # fmt: skip
    assert progress.usage_so_far == Usage()


def test_a_phase_starts_with_no_rows_done():
    progress = folded(
        OptimizerStarted(optimizer="BootstrapFewShot"),
        PhaseStarted(phase="evaluating baseline", rows=10),
        RowsEvaluated(rows=4, score=25.0, usage=CALLS),
        PhaseStarted(phase="bootstrapping", detail="0 of 4"),
    )
    assert (progress.optimizer, progress.phase, progress.detail) == ("BootstrapFewShot", "bootstrapping", "0 of 4")
    assert (progress.rows_done, progress.rows_total, progress.phase_score) == (0, None, None)


def test_rows_and_their_usage_count_within_the_phase():
    progress = folded(PhaseStarted(phase="evaluating", rows=10), RowsEvaluated(rows=4, score=25.0, usage=CALLS))
    assert (progress.rows_done, progress.rows_total, progress.phase_score) == (4, 10, 25.0)
    assert progress.usage_so_far == CALLS


def test_the_usage_of_a_phase_is_counted_once_when_it_ends():
    progress = folded(
        UsageAdded(usage=CALLS), PhaseStarted(phase="x"), RowsEvaluated(rows=1, usage=CALLS), UsageAdded(usage=CALLS)
    )
    assert progress.usage_so_far == CALLS + CALLS


def test_the_baseline_is_the_first_candidate_and_the_best_is_the_best():
    progress = folded(BASELINE, BETTER, WORSE)
    assert progress.candidates == (BASELINE, BETTER, WORSE)
    assert (progress.baseline_score, progress.best_score) == (50.0, 80.0)


def test_a_finished_compile_says_so():
    progress = folded(BASELINE, OptimizerFinished(score=50.0))
    assert (progress.phase, progress.finished, progress.best_score) == ("finished", True, 50.0)


def test_a_new_compile_starts_from_nothing():
    assert folded(BASELINE, OptimizerStarted(optimizer="X")) == Progress(optimizer="X")


def test_lost_events_change_nothing():
    assert folded(BASELINE, EventsLost(count=3)) == folded(BASELINE)


def test_progress_survives_being_written_down():
    progress = folded(OptimizerStarted(optimizer="X"), BASELINE, UsageAdded(usage=CALLS))
    assert Progress.model_validate_json(progress.model_dump_json()) == progress


def test_the_budget_is_the_last_one_set_and_stays_when_the_optimizer_starts():
    progress = folded(BudgetSet(budget=Limits(usd=1)), OptimizerStarted(optimizer="GEPA"))
    assert progress.budget == Limits(usd=1)
    assert progress.after(BudgetSet(budget=Limits(usd=2))).budget == Limits(usd=2)


def test_models_are_told_of_while_they_are_left_alone_and_no_longer():
    broken, other = (
        BreakerChanged(model=model, endpoint="http://there", state="open") for model in ("openai/a", "openai/b")
    )
    tried = broken.model_copy(update={"state": "half_open"})
    progress = folded(PhaseStarted(phase="x"), broken, other)
    assert progress.breakers == (broken, other)
    assert progress.after(tried).breakers == (other, tried)
    assert progress.after(broken.model_copy(update={"state": "closed"})).breakers == (other,)
    assert progress.after(PhaseStarted(phase="y")).breakers == ()


def rows_at(pace, progress, *seen):
    for at, rows in seen:
        progress = progress.after(RowsEvaluated(rows=rows))
        pace.take(progress, at=at)
    return progress


def test_the_pace_is_that_of_the_last_half_minute():
    pace, progress = Pace(), folded(PhaseStarted(phase="x", rows=200))
    pace.take(progress, at=0.0)
    assert pace.rows_per_second(at=1.0) is None
    progress = rows_at(pace, progress, (10.0, 20))
    assert (pace.rows_per_second(at=10.0), pace.seconds_left(progress, at=10.0)) == (2.0, 90.0)
    progress = rows_at(pace, progress, *((10.0 + step, 20 + step) for step in range(1, 61)))
    assert pace.rows_per_second(at=70.0) == 1.0
    assert pace.rows_per_second(at=100.0) < 1.0, "it has stood still"


def test_a_model_is_left_alone_no_longer_once_whoever_said_so_is_silent_for_long():
    at = datetime(2026, 11, 24, 3, tzinfo=UTC)
    broken = BreakerChanged(model="openai/a", endpoint="http://there", state="open", at=at)
    here = BreakerChanged(model="openai/b", endpoint="http://there", state="open")
    progress = folded(PhaseStarted(phase="x"), broken, here)
    assert progress.left_alone(at + timedelta(seconds=120)) == (broken, here)
    assert progress.left_alone(at + timedelta(hours=1)) == (here,)


def test_rows_of_evaluations_that_ended_are_no_step_back_from_all_rows_that_a_look_found():
    looked, logged = RowsEvaluated(rows=7, score=50.0), RowsEvaluated(rows=4, score=25.0, offset=3)
    begun = Progress().shown_after(PhaseStarted(phase="x", rows=10))
    assert begun.shown_after(looked).shown_after(logged).rows_done == 7
    assert begun.shown_after(logged).shown_after(looked).rows_done == 7
    assert begun.shown_after(logged).rows_done == 4
    assert begun.shown_after(looked).shown_after(PhaseStarted(phase="y", rows=10)).rows_done == 0


def test_the_pace_begins_anew_with_a_phase():
    pace = Pace()
    rows_at(pace, folded(PhaseStarted(phase="x", rows=9)), (0.0, 0), (1.0, 9))
    pace.take(folded(PhaseStarted(phase="y", rows=9)), at=2.0)
    assert pace.rows_per_second(at=3.0) is None


def test_whoever_begins_to_listen_is_told_of_the_rows_before_too():
    told, listening = [], []
    tally = RowTally(told.append, wanted=lambda: bool(listening))
    with tally.evaluation():
        tally.add(rows=2, total=1.0, usage=CALLS)
        assert told == []
        listening.append(True)
        tally.add(rows=2, total=2.0, usage=CALLS)
    assert told == [RowsEvaluated(rows=4, score=75.0, usage=CALLS + CALLS)]
