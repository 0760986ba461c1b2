import pytest

from dspex_core.datasets import hold_out
from dspex_core.errors import DatasetError

ROWS = [{"number": number} for number in range(50)]


def test_every_row_is_in_exactly_one_part():
    train, held_out = hold_out(ROWS)
    assert (len(train), len(held_out)) == (40, 10)
    assert sorted(row["number"] for row in train + held_out) == list(range(50))


def test_the_split_is_the_same_on_every_machine():
    assert [row["number"] for row in hold_out(ROWS[:10])[1]] == [6, 9]
    assert [row["number"] for row in hold_out(ROWS[:10], seed=7)[1]] == [5, 2]


def test_the_rows_given_are_left_as_they_are():
    rows = list(ROWS)
    hold_out(rows)
    assert rows == ROWS


@pytest.mark.parametrize(("count", "share", "held"), [(2, 0.01, 1), (2, 0.99, 1), (5, 0.2, 1), (10, 0.95, 9)])
def test_both_parts_have_at_least_one_row(count, share, held):
    train, held_out = hold_out(ROWS[:count], share=share)
    assert (len(train), len(held_out)) == (count - held, held)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_rows_are_an_error(count):
    with pytest.raises(DatasetError, match=f"from {count} in all"):
        hold_out(ROWS[:count])


@pytest.mark.parametrize("share", [0, 1, -0.1, 20, float("nan")])
def test_a_share_outside_0_and_1_is_an_error(share):
    with pytest.raises(DatasetError, match="between 0 and 1"):
        hold_out(ROWS, share=share)
