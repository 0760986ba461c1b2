import json

import pytest
from typer.testing import CliRunner

from dspex.cli._app import app

LABELS = ("card", "pin", "refund", "transfer")


@pytest.fixture
def dry_run(tmp_path, monkeypatch):
    """Runs `dspex compile --dry-run` where there is no key, no server and no cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "home"))
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    rows = [{"text": f"message {number} about it", "label": LABELS[number % 4]} for number in range(50)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def invoke(*arguments):
        task = ("compile", "--dry-run", "--train", "train.jsonl", "--input", "text", "--output", "label")
        return CliRunner().invoke(app, [*task, *arguments], catch_exceptions=False)

    return invoke


def test_a_dry_run_tells_calls_tokens_and_dollars_without_key_server_or_trace(dry_run, tmp_path):
    done = dry_run("--lm", "openai/gpt-4o-mini", "-o", "program.json")
    assert done.exit_code == 0
    assert "BootstrapFewShot, 40 rows to learn from, 10 to score on" in done.stdout
    assert "(from 24 to 60)" in done.stdout
    assert "cost      about $0.0" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.jsonl"]


def test_as_json_it_is_one_document(dry_run):
    done = dry_run("--lm", "openai/gpt-4o-mini", "--optimizer", "mipro_v2", "--json")
    plan = json.loads(done.stdout)
    assert plan["optimizer"] == "MIPROv2"
    assert plan["lm_calls"]["low"] <= plan["lm_calls"]["expected"] <= plan["lm_calls"]["high"]
    assert 0 < plan["cost_usd"]["low"] < plan["cost_usd"]["high"]
    assert plan["to_second_proposal"]["lm_calls"]["low"] > 0


def test_a_price_that_is_not_known_is_warned_of_and_no_failure(dry_run):
    done = dry_run("--lm", "openai/nobody-knows", "--teacher-lm", "openai/gpt-4o-mini")
    assert done.exit_code == 0
    assert "warning: the price of openai/nobody-knows is not known" in done.stderr
    assert "cost      unknown" in done.stdout


def test_folds_are_planned_for_in_place_of_rows_to_score_on(dry_run):
    done = dry_run("--lm", "openai/gpt-4o-mini", "--optimizer", "labeled_few_shot", "--folds", "5")
    assert "LabeledFewShot, 50 rows to learn from, scored in 5 folds" in done.stdout
    assert "LM calls  100\n" in done.stdout


def test_what_is_exact_is_told_as_one_number(dry_run):
    done = dry_run("--lm", "openai/gpt-4o-mini", "--optimizer", "labeled_few_shot")
    assert "LM calls  20\n" in done.stdout


def test_a_budget_that_is_used_up_before_a_second_proposal_is_warned_of(dry_run):
    random_search = ("--optimizer", "bootstrap_few_shot_with_random_search", "--set", "num_candidate_programs=3")
    small = dry_run("--lm", "openai/gpt-4o-mini", *random_search, "--budget-calls", "15")
    assert small.exit_code == 0
    assert (
        "warning: a budget of 15 LM calls is used up before BootstrapFewShotWithRandomSearch has tried a second"
        in small.stderr
    )
    large = dry_run("--lm", "openai/gpt-4o-mini", *random_search, "--budget-calls", "1000", "--budget-usd", "5")
    assert "warning" not in large.stderr
