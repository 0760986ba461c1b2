import csv
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dspex_core.datasets import read_rows
from dspex_core.errors import ConfigurationError, DatasetError

ROWS = [{"text": "I was charged twice", "team": "billing"}, {"text": "naïve, “quoted” 🙂", "team": "bug"}]


def write(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8", newline="")
    return path


def error_text(path):
    with pytest.raises(DatasetError) as caught:
        read_rows(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def save(path, rows):
    extension = path.suffix.lower()
    if extension == ".jsonl":
        write(path, "".join(json.dumps(row) + "\n" for row in rows))
    elif extension == ".json":
        write(path, json.dumps(rows, indent=2))
    elif extension == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if extension == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d.tsv", "d.parquet", "D.CSV", "d.Parquet"])
def test_every_format_gives_the_same_rows_in_order(tmp_path, name):
    assert read_rows(save(tmp_path / name, ROWS)) == ROWS


def test_a_path_may_be_a_string(tmp_path):
    assert read_rows(str(save(tmp_path / "d.csv", ROWS))) == ROWS


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d.tsv"])
def test_a_byte_order_mark_is_not_part_of_the_data(tmp_path, name):
    path = save(tmp_path / name, ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_rows(path) == ROWS


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.tsv"])
def test_windows_line_ends_and_blank_lines_change_nothing(tmp_path, name):
    path = save(tmp_path / name, ROWS)
    lines = path.read_bytes().replace(b"\r\n", b"\n").splitlines()
    assert read_rows(write(path, b"\r\n\r\n".join(lines) + b"\r\n  \r\n")) == ROWS


def test_json_lines_keep_types_and_line_separators_inside_strings(tmp_path):
    row = {"text": "a\u2028b\x0bc", "score": 1.5, "tags": ["x"], "none": None}
    path = write(tmp_path / "d.jsonl", json.dumps(row, ensure_ascii=False) + "\n")
    assert read_rows(path) == [row]


def test_csv_fields_may_hold_newlines_quotes_and_commas(tmp_path):
    path = write(tmp_path / "d.csv", 'text,team\r\n"one\r\ntwo, ""three""",bug\r\n,x\r\n')
    assert read_rows(path) == [{"text": 'one\r\ntwo, "three"', "team": "bug"}, {"text": "", "team": "x"}]


def test_a_csv_field_may_be_megabytes_long_and_the_process_limit_is_left_as_it_was(tmp_path):
    before = csv.field_size_limit()
    rows = [{"text": "x" * 3_000_000, "team": "bug"}]
    assert read_rows(save(tmp_path / "d.csv", rows)) == rows
    assert csv.field_size_limit() == before


def test_a_missing_file_is_named_in_the_error_with_its_nearest_neighbour(tmp_path):
    save(tmp_path / "tickets.csv", ROWS)
    text = error_text(tmp_path / "ticket.csv")
    assert "no such file" in text
    assert "tickets.csv?" in text


def test_a_missing_folder_is_an_error_too(tmp_path):
    assert "no such file" in error_text(tmp_path / "nowhere" / "d.csv")


def test_a_directory_is_not_a_data_file(tmp_path):
    assert "directory" in error_text(tmp_path)


@pytest.mark.parametrize("name", ["d.xlsx", "d", "d.csv.gz"])
def test_an_unknown_extension_names_the_known_ones(tmp_path, name):
    text = error_text(write(tmp_path / name, "x"))
    for known in (".jsonl", ".json", ".csv", ".tsv", ".parquet"):
        assert known in text


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d.tsv"])
@pytest.mark.parametrize("content", ["", " \n\r\n", "\ufeff"])
def test_an_empty_file_is_an_error(tmp_path, name, content):
    assert "empty" in error_text(write(tmp_path / name, content))


@pytest.mark.parametrize(("name", "content"), [("d.csv", "text,team\n"), ("d.json", "[]")])
def test_a_file_without_rows_is_an_error(tmp_path, name, content):
    assert "no rows" in error_text(write(tmp_path / name, content))


def test_a_parquet_file_without_rows_is_an_error(tmp_path):
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    assert "no rows" in error_text(path)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ('{"text": ', "not valid JSON"),
        ("not json", "not valid JSON"),
        ('{"a": 1} {"a": 2}', "not valid JSON"),
        ('{"a": NaN}', "NaN"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ('{"a": "\\ud83d"}', "surrogate"),
        ("[" * 100_000, "nested"),
        ("[1, 2]", "a list"),
        ('"text"', "a string"),
        ("null", "null"),
        ("7", "a number"),
        ("true", "a boolean"),
    ],
)
def test_a_malformed_json_line_is_named_by_its_number(tmp_path, wrong, reason):
    text = error_text(write(tmp_path / "d.jsonl", f'{{"a": 1}}\n\n{wrong}\n{{"a": 2}}\n'))
    assert "line 3" in text
    assert reason in text
    assert len(text) < 500


def test_a_whole_surrogate_pair_is_a_character(tmp_path):
    assert read_rows(write(tmp_path / "d.jsonl", '{"a": "\\uD83D\\uDE42"}')) == [{"a": "🙂"}]


def test_broken_json_is_reported_with_the_line_it_breaks_on(tmp_path):
    assert "line 3" in error_text(write(tmp_path / "d.json", '[\n  {"a": 1},\n  {"a": }\n]'))


def test_a_json_file_that_is_no_list_says_what_it_holds(tmp_path):
    assert "an object" in error_text(write(tmp_path / "d.json", '{"rows": []}'))


def test_json_lines_in_a_json_file_point_to_the_right_extension(tmp_path):
    assert ".jsonl" in error_text(write(tmp_path / "d.json", '{"a": 1}\n{"a": 2}\n'))


def test_a_json_item_that_is_no_object_is_named_by_its_position(tmp_path):
    assert "item 2" in error_text(write(tmp_path / "d.json", '[{"a": 1}, "b"]'))


@pytest.mark.parametrize(("row", "counted"), [("a,b,c", "3 cells"), ("a", "1 cell,")])
def test_a_csv_row_of_the_wrong_width_is_named_by_the_line_it_begins_on(tmp_path, row, counted):
    text = error_text(write(tmp_path / "d.csv", f'text,team\n"one\ntwo",x\n\n{row}\n'))
    assert "line 5" in text
    assert counted in text
    assert "header has 2" in text


def test_a_quote_that_is_never_closed_is_named_by_the_line_it_opens_on(tmp_path):
    text = error_text(write(tmp_path / "d.csv", 'text,team\na,b\n"one,b\nc,d\n'))
    assert "line 3" in text
    assert "never closed" in text


def test_text_after_a_closing_quote_is_an_error_not_a_guess(tmp_path):
    assert "line 2" in error_text(write(tmp_path / "d.tsv", 'text\tteam\n"Hi" he said\tbug\n'))


def test_a_repeated_column_name_is_an_error(tmp_path):
    assert "'text'" in error_text(write(tmp_path / "d.csv", "text,team,text\na,b,c\n"))


@pytest.mark.parametrize("header", ["text,,team", "text, ,team", "text,team,"])
def test_a_column_without_a_name_is_an_error(tmp_path, header):
    assert "no name" in error_text(write(tmp_path / "d.csv", header + "\na,b,c\n"))


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl", "d.json", "d.tsv"])
def test_bytes_that_are_not_utf_8_are_named_by_their_line(tmp_path, name):
    text = error_text(write(tmp_path / name, b"text\na\nna\xefve\n"))
    assert "line 3" in text
    assert "0xef" in text


def test_a_utf_16_file_is_recognised(tmp_path):
    assert "UTF-16" in error_text(write(tmp_path / "d.csv", "text,team\na,b\n".encode("utf-16")))


@pytest.mark.parametrize("content", [b"", b"text,team\na,b\n", b"PAR1" * 10])
def test_a_file_that_is_not_parquet_is_an_error(tmp_path, content):
    assert "parquet" in error_text(write(tmp_path / "d.parquet", content))


def test_a_parquet_folder_name_adds_no_columns(tmp_path):
    folder = tmp_path / "year=2024"
    folder.mkdir()
    assert read_rows(save(folder / "d.parquet", ROWS)) == ROWS


def test_a_repeated_parquet_column_is_an_error(tmp_path):
    path = tmp_path / "d.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    assert "'a'" in error_text(path)


def test_without_pyarrow_the_error_names_the_extra_to_install(tmp_path, monkeypatch):
    path = save(tmp_path / "d.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'dspex\[parquet\]'"):
        read_rows(path)


def test_pyarrow_is_not_loaded_before_it_is_needed(tmp_path):
    path = save(tmp_path / "d.csv", ROWS)
    program = "import sys; from dspex_core.datasets import read_rows; "
    program += "read_rows(sys.argv[1]); print('pyarrow' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True)
    assert finished.stdout.strip() == "False"
