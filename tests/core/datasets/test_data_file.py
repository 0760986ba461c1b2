import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dspex_core import Example
from dspex_core.datasets import DataFile, read_rows
from dspex_core.errors import DatasetError

ROWS = [{"text": f"message {number}, “quoted” 🙂\nin two lines", "team": "bug"} for number in range(450)]


def saved(path, rows=ROWS):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d.tsv", "d.parquet"])
def test_a_file_gives_the_rows_that_read_rows_gives_as_often_as_it_is_asked(tmp_path, name):
    path = saved(tmp_path / name)
    wanted = [Example(row).with_inputs("text") for row in read_rows(path)]
    file = DataFile(path, inputs=["text"])
    assert list(file) == wanted
    assert list(file) == wanted
    assert next(iter(file)).input_names == ("text",)


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.tsv"])
def test_what_comes_late_in_a_file_is_read_late(tmp_path, name):
    path = saved(tmp_path / name)
    with path.open("ab") as file:
        file.write(b"one cell, \xff\n" * 10_000)
    rows = iter(DataFile(path, inputs=["text"]))
    assert [next(rows).text for _ in range(5)] == [row["text"] for row in ROWS[:5]]
    with pytest.raises(DatasetError, match=r"line \d+ (is not UTF-8|has 1 cell|has 2 cells|is not valid JSON)"):
        list(rows)


def test_two_csv_files_can_be_read_in_turns(tmp_path):
    first, second = (iter(DataFile(saved(tmp_path / name), inputs=["text"])) for name in ("a.csv", "b.csv"))
    assert [a == b for a, b in zip(first, second, strict=True)] == [True] * len(ROWS)


def test_only_the_columns_that_are_wanted_are_taken(tmp_path):
    path = saved(tmp_path / "d.jsonl", [{"a": 1, "b": 2, "c": 3}])
    assert list(DataFile(path, inputs=["a"], columns=["b"])) == [Example(a=1, b=2).with_inputs("a")]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ('{"a": 1}\n{"b": 1}', {"inputs": ["a"]}, r"row 1 has no column 'a'; it has 'b'"),
        ('{"a": 1}\n{"a": ', {"inputs": ["a"]}, "line 2 is not valid JSON"),
        ('{"a": 1}', {"inputs": ["a"], "columns": ["c"]}, "row 0 has no column 'c'"),
        ("\n\n", {"inputs": ["a"]}, "no rows"),
        ("", {"inputs": []}, "name the columns that are inputs"),
        ("", {"inputs": "a"}, "name the columns that are inputs"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, options, said):
    path = tmp_path / "d.jsonl"
    path.write_text(content)
    with pytest.raises(DatasetError, match=said) as caught:
        list(DataFile(path, **options))
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_refused_at_once(tmp_path):
    saved(tmp_path / "tickets.csv")
    with pytest.raises(DatasetError, match=r"did you mean .*tickets\.csv"):
        DataFile(tmp_path / "ticket.csv", inputs=["text"])
