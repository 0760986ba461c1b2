import pytest

from dspex_core.lm._turns import Turns


def taken(turns):
    return [turns.pop() for _ in range(len(turns))]


def test_a_caller_with_one_is_not_behind_one_with_many():
    turns = Turns()
    for number in range(1000):
        turns.add("many", number)
    turns.add("one", "mine")
    assert taken(turns)[:3] == [0, "mine", 1]


def test_callers_alternate_and_each_keeps_its_order():
    turns = Turns()
    for caller in "abc":
        for number in range(2):
            turns.add(caller, f"{caller}{number}")
    assert taken(turns) == ["a0", "b0", "c0", "a1", "b1", "c1"]


def test_who_goes_away_is_not_served():
    turns = Turns()
    for item in ("x", "y", "z"):
        turns.add("a", item)
    turns.remove("a", "y")
    assert (len(turns), list(turns), turns.peek()) == (2, ["x", "z"], "x")
    assert taken(turns) == ["x", "z"]
    with pytest.raises(IndexError):
        turns.pop()
