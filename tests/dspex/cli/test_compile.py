import asyncio
import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from intent_prompts import LABELS

from dspex_core.testing import conformance_rows

pytestmark = pytest.mark.slow

BANKING = ("--train", "train.csv", "--val", "dev.csv", "--input", "text", "--output", "label")
FIELDS = {
    *("id", "status", "optimizer", "baseline_score", "score", "trials", "lm_calls", "cached_calls", "prompt_tokens"),
    *("completion_tokens", "cost_usd", "seconds", "web_ui", "program"),
}
CLEAR_MARGIN = 8


@pytest.fixture
def train_rows(folder):
    with (folder / "train.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def demos_of(path):
    (predictor,) = json.loads(path.read_text())["state"]["predictors"].values()
    return predictor["demos"]


def output_field(path):
    return json.loads(path.read_text())["structure"]["signature"]["fields"][-1]


async def test_folds_give_the_same_durable_or_not(dspex, model):
    compile_it = ("compile", "--train", "dev.csv", *BANKING[4:], *model, "--folds", "3", "--json")
    durable, here = await asyncio.gather(dspex(*compile_it, "--id", "folds"), dspex(*compile_it, "--in-process"))
    for done in (durable, here):
        assert done.code == 0, done.err
        assert done.document["score"] >= done.document["baseline_score"]
        assert len(done.document["folds"]) == 3
    assert durable.document["folds"] == here.document["folds"]
    assert durable.document["score"] == here.document["score"]


async def test_one_seed_gives_one_score_and_one_file_durable_or_not_in_any_home(
    dspex, model, folder, tmp_path, users_home
):
    own_server = tmp_path / "own-server"
    own_server.mkdir()
    (own_server / "bin").symlink_to(users_home / "bin")
    compile_it = ("compile", *BANKING, *model, "--json", "-o")
    durable, here, elsewhere = await asyncio.gather(
        dspex(*compile_it, "durable.json", "--id", "banking"),
        dspex(*compile_it, "here.json", "--in-process", DSPEX_HOME=str(tmp_path / "home"), PYTHONHASHSEED="7"),
        # Under an address that no worker trusts unless it was told to.
        dspex(
            *(option.replace("127.0.0.1", "0.0.0.0") for option in compile_it),
            "own.json",
            TEMPORAL_ADDRESS=None,
            TEMPORAL_NAMESPACE=None,
            DSPEX_HOME=str(own_server),
        ),
    )
    for done in (durable, here, elsewhere):
        assert done.code == 0, done.err
        assert done.document.keys() >= FIELDS
        assert done.document["status"] == "completed"
        assert done.document["score"] >= done.document["baseline_score"] + CLEAR_MARGIN
        assert done.document["score"] == durable.document["score"]
        assert done.document["baseline_score"] == durable.document["baseline_score"]
        assert done.document["lm_calls"] > 0
    assert durable.document["id"] == "banking"
    assert durable.document["program"] == "durable.json"
    assert elsewhere.document["web_ui"].endswith(f"/workflows/{elsewhere.document['id']}")
    assert (folder / "durable.json").read_bytes() == (folder / "here.json").read_bytes()
    assert (folder / "durable.json").read_bytes() == (folder / "own.json").read_bytes()
    assert "baseline: " in durable.err
    assert output_field(folder / "durable.json")["type"] == f"Literal[{', '.join(map(repr, LABELS))}]"

    scored, predicted = await asyncio.gather(
        dspex("eval", "--program", "durable.json", "--data", "dev.csv", *model, "--json"),
        dspex("predict", "--program", "durable.json", *model, "text=I lost my wallet in Berlin", "--json"),
    )
    assert scored.document["score"] == durable.document["score"]
    assert scored.document["rows"] == 200
    assert scored.document["errors"] == []
    assert predicted.document["label"] in LABELS
    assert predicted.document["usage"]["lm_calls"] + predicted.document["usage"]["cached_calls"] == 1


@pytest.mark.parametrize("extension", ["jsonl", "json", "tsv", "parquet"])
def test_the_same_rows_in_another_format_give_the_same_program(extension, in_this_process, model, tmp_path, train_rows):
    rows = train_rows[:60]
    for name in (extension, "csv"):
        write_rows(tmp_path / f"rows.{name}", rows)
        done = in_this_process(
            *("compile", "--train", tmp_path / f"rows.{name}", "--input", "text", "--output", "label", *model),
            *("--optimizer", "labeled_few_shot", "--in-process", "-o", tmp_path / f"{name}.program"),
        )
        assert done.code == 0, done.err
        assert "evaluating baseline (12 rows)" in done.err, "without --val, a fifth is held out"
    assert (tmp_path / f"{extension}.program").read_bytes() == (tmp_path / "csv.program").read_bytes()


def write_rows(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)


def test_columns_may_have_spaces_and_settings_reach_the_optimizer(in_this_process, model, tmp_path, train_rows):
    path = tmp_path / "spaced.csv"
    write_rows(path, [{"customer's message": row["text"], "the intent": row["label"]} for row in train_rows[:60]])
    options = ("--train", path, "--input", "customer's message", "--output", "the intent", *model, "--in-process")
    done = in_this_process(
        *("compile", *options, "--set", "max_bootstrapped_demos=1", "--set", "max_labeled_demos=3"),
        *("--module", "chain_of_thought", "--instructions", "Name the intent.", "-o", tmp_path / "p.json", "--json"),
    )
    assert done.code == 0, done.err
    saved = json.loads((tmp_path / "p.json").read_text())
    assert saved["structure"]["module"] == "chain_of_thought"
    assert saved["structure"]["signature"]["instructions"] == "Name the intent."
    (predictor,) = saved["state"]["predictors"].values()
    if done.document["score"] > done.document["baseline_score"]:
        assert [*predictor["demos"][0]] == ["customer_s_message", "reasoning", "the_intent"]
    assert len(predictor["demos"]) in (0, 3)
    predicted = in_this_process(
        *("predict", "--program", tmp_path / "p.json", *model, "--json", "customer_s_message=where is my card?")
    )
    assert predicted.document["reasoning"]
    scored = in_this_process("eval", "--program", tmp_path / "p.json", "--data", path, *model, "--json")
    assert scored.document["rows"] == 60, "columns go by the names that the program gave them"


def test_a_signature_of_ones_own_takes_its_columns_by_name_or_from_the_options(
    in_this_process, model, tmp_path, train_rows
):
    path = tmp_path / "other-names.jsonl"
    write_rows(path, [{"message": row["text"], "label": row["label"]} for row in train_rows[:40]])
    done = in_this_process(
        *("compile", "--train", path, *model, "--in-process", "--json", "-o", tmp_path / "p.json"),
        *("--signature", "text -> label", "--input", "message", "--instructions", "Say what it is about."),
    )
    assert done.code == 0, done.err
    signature = json.loads((tmp_path / "p.json").read_text())["structure"]["signature"]
    assert [(field["name"], field["type"]) for field in signature["fields"]] == [("text", "str"), ("label", "str")]
    assert signature["instructions"] == "Say what it is about."


async def test_a_users_own_program_and_metric_compile_durably_and_load_again(dspex, model, folder, tmp_path):
    write_rows(folder / "topics.csv", [row.to_dict() for row in conformance_rows(60)])
    named = ("--program", "shop_app:router", "--metric", "shop_app:lenient")
    options = ("--train", "topics.csv", "--input", "text", "--output", "topic", *named, *model, "--json")
    durable, here = await asyncio.gather(
        dspex("compile", *options, "-o", "router.json"),
        dspex("compile", *options, "-o", "here.json", "--in-process", DSPEX_HOME=str(tmp_path)),
    )
    assert durable.code == 0, durable.err
    assert durable.document["score"] == here.document["score"] > 25, "0.25 is what the metric gives a wrong topic"
    assert (folder / "router.json").read_bytes() == (folder / "here.json").read_bytes()
    predicted = await dspex("predict", "--program", "router.json", *model, "text=my parcel", "--json")
    assert predicted.document["topic"] in ("account", "billing", "bug", "shipping")


def test_another_seed_draws_other_demos_and_the_same_one_the_same(in_this_process, model, folder, tmp_path):
    options = (*BANKING, *model, "--in-process", "--optimizer", "labeled_few_shot", "--set", "k=3")
    for name, seed in (("zero", 0), ("one", 1), ("one-again", 1)):
        assert in_this_process("compile", *options, "--seed", seed, "-o", tmp_path / name).code == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "one-again").read_bytes()
    assert demos_of(tmp_path / "one") != demos_of(tmp_path / "zero")
    assert len(demos_of(tmp_path / "one")) == 3


def test_a_result_for_people_names_score_gain_calls_and_file(in_this_process, model, tmp_path):
    done = in_this_process("compile", *BANKING, *model, "--in-process", "-o", tmp_path / "p.json")
    assert done.out.splitlines()[0].startswith("score ")
    assert "baseline" in done.out
    assert "LM calls" in done.out
    assert str(tmp_path / "p.json") in done.out


def test_a_budget_that_buys_no_search_is_warned_of_when_the_compile_starts(in_this_process, model):
    done = in_this_process("compile", *BANKING, *model, "--in-process", "--budget-calls", "3")
    assert done.code == 0, done.err
    assert "warning: a budget of 3 LM calls is used up before BootstrapFewShot" in done.err


def test_a_program_whose_types_hold_code_is_compiled_from_its_own_module(in_this_process, model, tmp_path):
    rows = tmp_path / "rows.jsonl"
    labels = ("even", "odd")
    rows.write_text("".join(json.dumps({"text": "x" * n, "label": labels[n % 2]}) + "\n" for n in range(1, 11)))
    options = ("--train", rows, *model, "--in-process", "--optimizer", "labeled_few_shot", "--json")
    done = in_this_process("compile", "--program", "echo_app:echo", *options)
    assert done.code == 0, done.err
    assert done.document["score"] == 100.0
