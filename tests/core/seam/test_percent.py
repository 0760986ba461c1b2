import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_core.errors import EvaluationError
from dspex_core.seam import Evaluation, percent


@given(st.lists(st.floats(0, 1), min_size=1), st.randoms())
def test_the_order_of_rows_never_changes_the_score(scores, random):
    shuffled = random.sample(scores, len(scores))
    assert percent(scores) == percent(shuffled)
    assert 0.0 <= percent(scores) <= 100.0


@pytest.mark.parametrize(("scores", "score"), [([1.0, 0.0, 0.0], 33.33), ([1.0], 100.0), ([0.1] * 3, 10.0)])
def test_a_score_is_the_mean_in_percent_with_two_digits(scores, score):
    assert percent(scores) == score


def test_no_rows_have_no_score():
    with pytest.raises(EvaluationError, match="no rows"):
        Evaluation(scores=()).score  # noqa: B018 - raises
