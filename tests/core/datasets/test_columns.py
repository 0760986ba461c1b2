import pytest

from dspex_core.datasets import label_values, require_columns
from dspex_core.errors import DatasetError

ROWS = [{"message": "a", "team": "bug"}, {"message": "b", "team": "billing"}, {"message": "c", "team": "bug"}]


def test_rows_that_have_the_columns_pass():
    require_columns(ROWS, ["message", "team"], path="d.csv")


@pytest.mark.parametrize(("asked", "meant"), [("mesage", "message"), ("Team", "team"), ("teams", "team")])
def test_a_missing_column_names_the_nearest_and_those_there_are(asked, meant):
    with pytest.raises(DatasetError) as caught:
        require_columns(ROWS, [asked], path="d.csv")
    assert str(caught.value) == f"d.csv: no column {asked!r}; did you mean {meant!r}? there are 'message', 'team'"


def test_a_missing_column_with_nothing_near_lists_those_there_are():
    with pytest.raises(DatasetError, match="no column 'xyz'; there are 'message', 'team'"):
        require_columns(ROWS, ["xyz"], path="d.csv")


def test_a_wide_file_does_not_flood_the_error():
    with pytest.raises(DatasetError, match="and 480 more"):
        require_columns([{f"column_{i}": 1 for i in range(500)}], ["team"], path="d.csv")


def test_the_first_row_that_lacks_a_column_is_named():
    with pytest.raises(DatasetError, match=r"d\.jsonl: row 1 has no column 'team' \(it has 'message'\)"):
        require_columns([ROWS[0], {"message": "b"}, {}], ["team"], path="d.jsonl")


def test_labels_come_distinct_and_sorted():
    assert label_values(ROWS, "team") == ["billing", "bug"]


def test_more_values_than_the_limit_are_free_text():
    rows = [{"label": str(number)} for number in range(100)]
    assert len(label_values(rows, "label") or []) == 100
    assert label_values([*rows, {"label": "one more"}], "label") is None
    assert label_values(rows, "label", limit=99) is None


@pytest.mark.parametrize("values", [[1, 2], [True, False], ["a", 1], [["a"], ["b"]], [{"a": 1}, {"a": 2}]])
def test_values_that_are_not_strings_are_no_labels(values):
    assert label_values([{"x": value} for value in values], "x") is None


@pytest.mark.parametrize(("value", "kind"), [(None, "null"), ("", "empty"), ("  ", "empty")])
def test_a_row_without_a_label_is_named(value, kind):
    with pytest.raises(DatasetError, match=rf"d\.csv: row 3 has no value in output column 'team' \(it is {kind}\)"):
        label_values([*ROWS, {"message": "d", "team": value}], "team", path="d.csv")


@pytest.mark.parametrize("value", ["bug", 1, ["x"]])
def test_a_single_label_leaves_nothing_to_learn(value):
    with pytest.raises(DatasetError, match="nothing to learn"):
        label_values([{"team": value}, {"team": value}], "team")
