from dspex_core.events import (
    CandidateEvaluated,
    EventsLost,
    OptimizerFinished,
    OptimizerStarted,
    PhaseStarted,
    RowsEvaluated,
    UsageAdded,
)
from dspex_core.progress import Progress
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
