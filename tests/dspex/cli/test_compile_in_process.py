"""`dspex compile --in-process`: what it refuses before it starts, and what it tells of a search cut short."""

import json

import pytest
from typer.testing import CliRunner

from dspex.cli._app import app
from dspex_core.errors import ConfigurationError, DatasetError, UnknownNameError
from dspex_core.testing import FakeProviderProcess

LABELS = ("card", "pin", "refund", "transfer")


@pytest.fixture(scope="module")
def provider():
    with FakeProviderProcess() as running:
        yield running


@pytest.fixture
def compiled(tmp_path, monkeypatch, provider):
    """Runs `dspex compile --in-process`, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-tests")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.syspath_prepend(tmp_path)
    rows = [{"text": f"message {number} about it", "label": LABELS[number % 4]} for number in range(50)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def invoke(*arguments):
        task = ("compile", "--in-process", "--train", "train.jsonl", "--input", "text", "--output", "label")
        model = ("--lm", "openai/fake", "--api-base", provider.base_url)
        return CliRunner().invoke(app, [*task, *model, *arguments], catch_exceptions=False)

    return invoke


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_a_budget_in_dollars_for_a_model_of_unknown_price_is_refused(compiled, provider, how):
    before = provider.stats().requests
    with pytest.raises(ConfigurationError, match="price of openai/fake is not known, so a budget in dollars cannot be"):
        compiled("--budget-usd", "5", *how)
    assert provider.stats().requests == before


def test_another_way_to_end_than_there_is_is_refused_with_and_without_a_budget(compiled):
    for budget in ((), ("--budget-calls", "5"), ("--dry-run",)):
        with pytest.raises(UnknownNameError, match="unknown --on-limit 'foo': there are finish, park"):
            compiled("--on-limit", "foo", *budget)


def test_a_search_that_its_budget_ends_tells_so_and_all_that_was_paid(compiled, provider, tmp_path):
    before = provider.stats().requests
    ended = json.loads(compiled("--budget-calls", "5", "-o", "program.json", "--json").stdout)
    assert (ended["status"], ended["score"], ended["program"]) == ("completed", None, None)
    assert ended["note"].startswith("ended early: budget reached: 5 LM calls may be taken")
    assert ended["note"].endswith("before anything was scored")
    assert ended["lm_calls"] == provider.stats().requests - before == 5
    assert not (tmp_path / "program.json").exists()

    whole = json.loads(compiled("-o", "program.json", "--json").stdout)
    assert (whole["note"], whole["program"]) == (None, "program.json")


def test_a_metric_that_is_no_function_is_refused_before_anything_starts(compiled, provider, tmp_path):
    (tmp_path / "their_judge.py").write_text("limit = 5\n")
    before = provider.stats().requests
    with pytest.raises(ConfigurationError, match="metric their_judge:limit is an int, not a function"):
        compiled("--metric", "their_judge:limit")
    assert provider.stats().requests == before


def test_labels_that_only_the_rows_to_score_on_have_are_among_the_choice_and_told(compiled, tmp_path):
    rows = [{"text": f"message {number}", "label": label} for number, label in enumerate([*LABELS, "close", "other"])]
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = compiled("--val", "val.jsonl", "-o", "program.json")
    assert "a choice of 6 texts, 2 of them in --val alone: 'close', 'other'" in done.stderr
    (*_, field) = json.loads((tmp_path / "program.json").read_text())["structure"]["signature"]["fields"]
    assert field["type"] == "Literal['card', 'close', 'other', 'pin', 'refund', 'transfer']"


def test_too_many_labels_of_both_files_together_are_free_text(compiled, tmp_path):
    rows = [{"text": f"message {number}", "label": f"label {number}"} for number in range(97)]
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    compiled("--val", "val.jsonl", "--optimizer", "labeled_few_shot", "-o", "program.json")
    (*_, field) = json.loads((tmp_path / "program.json").read_text())["structure"]["signature"]["fields"]
    assert field["type"] == "str"


def test_a_fine_tuning_job_is_told_of_while_it_goes_on(compiled):
    done = compiled("--optimizer", "bootstrap_finetune", "--set", "poll_seconds=0.1", "--set", "metric_threshold=0")
    said = [line for line in done.stderr.splitlines() if line.startswith("fine-tuning: job")]
    assert [line.split()[-1] for line in said[:2]] == ["queued", "running"]
    assert "succeeded: openai/ft:" in said[-1]


def test_rows_of_a_file_are_counted_from_0_as_those_of_an_evaluation_are(compiled, tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n')
    with pytest.raises(DatasetError, match="row 1 has no value in output column 'label'"):
        compiled()
