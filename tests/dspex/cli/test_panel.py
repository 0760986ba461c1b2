"""What a terminal shows of a run under way."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from dspex.cli._panel import Sight, panel, sparkline
from dspex.cli._progress import ProgressView
from dspex_core.budget import Limits
from dspex_core.events import (
    BreakerChanged,
    BudgetSet,
    CandidateEvaluated,
    OptimizationStep,
    OptimizerStarted,
    PhaseStarted,
    RowsEvaluated,
    RunPaused,
    RunResumed,
    UsageAdded,
)
from dspex_core.progress import Progress
from dspex_core.usage import Usage

USAGE = Usage(lm_calls=123_456, cached_calls=98_765, prompt_tokens=12_345_678, cost_usd=412.3456, retries=321)
SCORES = [60.0, 55.0, 71.25, 70.0]
EVENTS = (
    BudgetSet(budget=Limits(usd=500, lm_calls=200_000)),
    OptimizerStarted(optimizer="BootstrapFewShotWithRandomSearch"),
    PhaseStarted(phase="evaluating candidates", detail="trial 117 of 200, 3 side by side, two of them", rows=10_000),
    *(CandidateEvaluated(index=number, label="x", score=score, failed=2) for number, score in enumerate(SCORES)),
    RowsEvaluated(rows=4_123, score=62.1, usage=USAGE),
)
OPEN = BreakerChanged(
    model="openai/gpt-4o-mini", endpoint="there", state="open", tries_again_in_seconds=8, reason="503"
)


def folded(*events):
    progress = Progress()
    for event in events:
        progress = progress.after(event)
    return progress


def lines_of(sight, *, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")  # as sys.stderr has it
    Console(file=file, width=80, height=24, force_terminal=True, color_system=None, legacy_windows=False).print(
        panel(sight)
    )
    file.flush()
    return file.buffer.getvalue().decode(encoding).splitlines()


def test_a_long_run_of_large_numbers_fits_into_80_columns_and_says_all_that_matters():
    sight = Sight(
        progress=folded(*EVENTS), seconds=7_384, rows_per_second=38.2, seconds_left=153.8, hint="Ctrl-C leaves it going"
    )
    lines = lines_of(sight)
    assert len(lines) == 7
    assert max(map(cell_len, lines)) <= 80
    text = "\n".join(lines)
    for told in (
        "evaluating candidates", "2 h 03 min", "4,123/10,000", "62.1 %", "38.2/s", "2 min 33 s left", "best 71.25 %",
        "baseline 60.00 %", "▃▁█▇", "4 candidates", "82%", "$412.3456 of $500", "123,456 LM calls", "321 retries",
        "8 rows failed", "breaker closed", "Ctrl-C leaves it going",
    ):  # fmt: skip
        assert told in text, told


def test_a_run_that_is_held_up_has_no_pace():
    sight = Sight(folded(*EVENTS), standing="paused", rows_per_second=38.2, seconds_left=9.0)
    shown = "\n".join(lines_of(sight))
    assert "paused" in shown
    assert "/s" not in shown
    assert " left" not in shown


def test_a_model_that_is_left_alone_is_named():
    at = datetime(2026, 11, 24, 3, tzinfo=UTC)
    progress = folded(*EVENTS, OPEN.model_copy(update={"at": at}))
    assert "breaker open: openai/gpt-4o-mini is left" in lines_of(Sight(progress, at=at))[-1]
    assert "breaker closed" in lines_of(Sight(progress, at=at + timedelta(hours=1)))[-1]


def test_a_terminal_without_the_characters_is_shown_none_of_them():
    [score] = [line for line in lines_of(Sight(folded(*EVENTS)), encoding="ascii") if "best" in line]
    assert score.split() == ["score", "best", "71.25", "%", "baseline", "60.00", "%", "4", "candidates"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [([], ""), ([50.0], "▁"), ([0.0, 100.0, 50.0], "▁█▅"), ([float(n) for n in range(48)], "▁▁▂▂▂")],
)
def test_a_sparkline_goes_from_the_lowest_value_to_the_highest(values, shown):
    line = sparkline(values)
    assert line.startswith(shown)
    assert len(line) == min(len(values), 24)


def test_in_a_pipe_only_what_matters_is_a_line(capsys):
    closed = OPEN.model_copy(update={"state": "closed"})
    with ProgressView(run_id="triage-1") as view:
        for event in (*EVENTS, OPEN, closed, RunPaused(), RunResumed()):
            view.show(event)
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[:2] == ["budget: $500, 200,000 LM calls", "evaluating candidates (10000 rows)"]
    assert [line.split(":")[0] for line in lines[2:6]] == ["x"] * 4
    assert lines[6:] == [
        "breaker open: openai/gpt-4o-mini keeps failing and is tried again in 8 s; 503",
        "breaker closed: openai/gpt-4o-mini answers again",
        "paused; the run goes on with: dspex runs resume triage-1",
        "resumed",
    ]


def test_what_candidates_took_is_told_once_when_all_of_a_step_are_scored(capsys):
    def scored(index, **more):
        return CandidateEvaluated(index=index, label=f"try {index}", score=50.0, **more)

    events = (
        PhaseStarted(phase="trying", rows=8),
        scored(1),
        scored(2, rows=3),
        scored(3, rows=3, estimate=60.0),
        UsageAdded(usage=Usage(lm_calls=14)),
        OptimizationStep(step=1, candidates=(1, 2, 3), best=3, score=60.0),
        scored(4),
    )
    with ProgressView() as view:
        for event in events:
            view.show(event)
    assert capsys.readouterr().err.splitlines() == [
        "trying (8 rows)",
        "try 1: 50.00 %",
        "try 2: 50.00 % on 3 rows",
        "try 3: about 60.00 %, out of the race after 3 rows; 14 LM calls, 0 from the cache, 0 tokens, $0.0000",
        "try 4: 50.00 %",
    ]
