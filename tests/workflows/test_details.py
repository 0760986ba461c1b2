"""What Temporal's Web UI shows of a compile is written at a cost that does not grow with its candidates."""

import sys

from dspex_core.events import CandidateEvaluated, OptimizerStarted
from dspex_core.progress import Progress
from workflows._details import CandidateTable, details_of


def candidate(index, *, score=50.0, **more):
    return CandidateEvaluated(index=index, label=f"set {index}", score=score, **more)


def calls_of(work):
    """How many functions are called."""
    calls = []
    sys.setprofile(lambda frame, event, arg: calls.append(event) if event in ("call", "c_call") else None)
    try:
        work()
    finally:
        sys.setprofile(None)
    return len(calls)


def test_another_candidate_costs_no_more_after_five_hundred_than_after_five():
    table, progress = CandidateTable(), Progress()
    costs = []
    for index in range(501):
        event = candidate(index)
        costs.append(calls_of(lambda event=event: table.take(event)))
        progress = progress.after(event)
    assert costs[500] <= costs[5]
    assert calls_of(lambda: details_of(progress, table)) < 50


def test_the_table_has_a_line_for_each_candidate_and_the_best_of_those_scored_on_all_rows():
    table = CandidateTable()
    assert table.markdown() == ""
    for event in (
        candidate(0, score=40.0),
        candidate(1, score=90.0, rows=8),
        candidate(2, score=60.0, rows=20, estimate=61.2),
        candidate(3, score=55.5),
    ):
        table.take(event)
    assert table.best_score == 55.5
    assert table.markdown().splitlines() == [
        "best score so far: **55.50 %**",
        "",
        "| candidate | how | score | failed rows |",
        "|---|---|---|---|",
        "| 0 | set 0 | 40.00 % | 0 |",
        "| 1 | set 1 | 90.00 % on 8 rows | 0 |",
        "| 2 | set 2 | about 61.20 %, out of the race after 20 rows | 0 |",
        "| 3 | set 3 | 55.50 % | 0 |",
    ]


def test_the_next_optimizer_of_a_sequence_begins_a_table_of_its_own():
    table = CandidateTable()
    table.take(candidate(0))
    table.take(OptimizerStarted(optimizer="GEPA"))
    assert (table.best_score, table.markdown()) == (None, "")
