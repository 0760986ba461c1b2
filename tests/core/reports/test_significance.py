import random

import pytest

from dspex_core.reports import gain_of


def test_the_gain_is_counted_in_points_and_rows():
    gain = gain_of([0.0, 1.0, 0.0, 0.5], [1.0, 0.0, 1.0, 0.5])
    assert gain.mean == pytest.approx(25.0)
    assert (gain.won, gain.lost) == (2, 1)
    assert gain.low <= gain.mean <= gain.high


def test_a_gain_on_nearly_every_row_is_more_than_chance():
    gain = gain_of([0.0] * 50, [1.0] * 45 + [0.0] * 5)
    assert gain.low > 70
    assert gain.chance == 0


def test_as_many_rows_lost_as_won_may_be_chance():
    gain = gain_of([0.0, 1.0] * 25, [1.0, 0.0] * 25)
    assert gain.low < 0 < gain.high
    assert 0.3 < gain.chance < 0.7


def test_the_same_rows_give_the_same_answer():
    draw = random.Random(1)
    before, after = ([float(draw.random() < share) for _ in range(80)] for share in (0.5, 0.6))
    assert gain_of(before, after) == gain_of(before, after)


def test_with_many_rows_the_shortcut_agrees_with_drawing():
    draw = random.Random(2)
    pairs = [(float(draw.random() < 0.5), float(draw.random() < 0.55)) for _ in range(2_000)]
    drawn = gain_of(*zip(*pairs, strict=True))
    # Each row twice: half the variance of the mean, and more rows than are drawn.
    counted = gain_of(*zip(*(pairs * 2), strict=True))
    assert counted.mean == pytest.approx(drawn.mean)
    assert (counted.high - counted.low) * 2**0.5 == pytest.approx(drawn.high - drawn.low, rel=0.1)


def test_no_difference_at_all_is_no_gain():
    assert gain_of([1.0] * 3_000, [1.0] * 3_000).chance == 1.0
