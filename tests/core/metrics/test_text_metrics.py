from datetime import UTC, datetime
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dspex_core import Example, Prediction
from dspex_core.errors import MetricError
from dspex_core.metrics import contains, exact_match, f1


def scored(metric, label, given_text):
    return metric(Example(q="?", a=label).with_inputs("q"), Prediction(a=given_text))


@pytest.mark.parametrize(
    ("label", "answer", "right"),
    [
        ("The Eiffel Tower", "eiffel tower!", True),
        ("Paris", "Paris, France", False),
        ("café", "cafe\u0301", True),
        (["Paris", "Lutetia"], "lutetia", True),
        (["Paris", "Lutetia"], "Rome", False),
        (4, "4", True),
        (True, True, True),
        ("", "", True),
        ("A", "a.", True),
        ("A", "B", False),
        ("A", "the", False),
        ("+", "+", True),
        ("+", "-", False),
        ("", "a", False),
    ],
)
def test_exact_match_looks_past_case_punctuation_articles_and_spacing(label, answer, right):
    assert scored(exact_match, label, answer) is right


def test_every_label_must_match():
    example = Example(q="?", a="x", b="y").with_inputs("q")
    assert exact_match(example, Prediction(a="x", b="y"))
    assert not exact_match(example, Prediction(a="x", b="z"))


@pytest.mark.parametrize(
    ("label", "answer", "score"),
    [
        ("the big red dog", "red dog", 0.8),
        ("red dog", "blue cat", 0.0),
        (["blue cat", "red dog"], "red dog", 1.0),
        ("dog dog", "dog", 2 / 3),
        ("", "", 1.0),
        ("", "dog", 0.0),
    ],
)
def test_f1_is_the_overlap_of_words_with_the_best_right_answer(label, answer, score):
    assert scored(f1, label, answer) == pytest.approx(score)


class Mood(Enum):
    VERY_GLAD = "glad"


class Order(BaseModel):
    mood: Mood
    when: datetime


WHEN = datetime(2024, 1, 5, 6, 7, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("label", "answer"),
    [
        ("glad", Mood.VERY_GLAD),
        ("2024-01-05T06:07:08Z", WHEN),
        ({"when": "2024-01-05T06:07:08Z", "mood": "glad"}, Order(mood=Mood.VERY_GLAD, when=WHEN)),
        (True, True),
        (["no", 3], 3),
    ],
)
def test_a_value_equals_the_label_that_a_data_file_holds_for_it(label, answer):
    assert scored(exact_match, label, answer)
    assert scored(exact_match, answer, answer)
    assert scored(f1, label, answer) == 1.0


def test_contains_finds_the_label_within_the_answer():
    assert scored(contains, "Paris", "It is Paris, France.")
    assert not scored(contains, "Rome", "It is Paris, France.")


@pytest.mark.parametrize("metric", [exact_match, f1, contains])
def test_a_prediction_without_any_labelled_field_is_an_error_that_names_both_sides(metric):
    with pytest.raises(MetricError, match="the labels are a, the prediction has b"):
        metric(Example(q="?", a="x").with_inputs("q"), Prediction(b="x"))


@pytest.mark.parametrize("metric", [exact_match, f1])
def test_an_example_without_labels_is_an_error(metric):
    with pytest.raises(MetricError, match="the labels are none"):
        metric(Example(q="?").with_inputs("q"), Prediction(a="x"))


@given(st.text(), st.text())
def test_scores_are_between_0_and_1_and_1_for_the_label_itself(label, answer):
    assert 0.0 <= scored(f1, label, answer) <= 1.0
    assert scored(f1, label, label) == 1.0
    assert scored(exact_match, label, label)
    assert scored(f1, label, answer) == pytest.approx(scored(f1, answer, label))
