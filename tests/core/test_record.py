import copy
import pickle

import pytest

from dspex_core import Example, Prediction, Usage
from dspex_core.errors import DatasetError, InputError
from dspex_core.record import require_inputs

TICKET = Example(text="I was charged twice", team="billing")


def test_fields_are_read_as_attributes_or_items_and_keep_their_order():
    assert (TICKET.text, TICKET["team"]) == ("I was charged twice", "billing")
    assert list(TICKET) == list(TICKET.keys()) == ["text", "team"]
    assert (len(TICKET), "text" in TICKET, "label" in TICKET) == (2, True, False)
    assert dict(TICKET.items()) == TICKET.to_dict()
    assert (TICKET.get("team"), TICKET.get("label"), TICKET.get("label", 7)) == ("billing", None, 7)


def test_a_field_that_is_not_there_is_named_with_those_there_are():
    with pytest.raises(AttributeError, match="this Example has no field 'label'; its fields are text, team"):
        _ = TICKET.label
    with pytest.raises(KeyError):
        TICKET["label"]


def test_inputs_and_labels_are_told_apart():
    example = TICKET.with_inputs("text")
    assert example.inputs() == {"text": "I was charged twice"}
    assert example.labels() == {"team": "billing"}
    assert example == TICKET


def test_the_example_itself_does_not_change():
    TICKET.with_inputs("text")
    with pytest.raises(InputError, match=r"which fields of Example.* are inputs\? say so with \.with_inputs"):
        TICKET.inputs()
    fields = TICKET.to_dict()
    fields["text"] = "changed"
    assert TICKET.text == "I was charged twice"


def test_an_input_that_is_no_field_is_named():
    with pytest.raises(InputError, match="no field 'txet'; its fields are text, team"):
        TICKET.with_inputs("txet")


def test_an_example_made_from_another_keeps_its_inputs():
    example = Example(TICKET.with_inputs("text"), team="bug", extra=1)
    assert example.to_dict() == {"text": "I was charged twice", "team": "bug", "extra": 1}
    assert example.inputs() == {"text": "I was charged twice"}


def test_an_example_may_be_made_of_a_dict_or_of_a_prediction():
    assert Example({"text": "I was charged twice"}, team="billing") == TICKET
    assert Example(Prediction(a=1)) == Example(a=1)


@pytest.mark.parametrize("name", ["items", "keys", "get", "inputs", "labels", "usage", "self", "base"])
def test_a_field_may_have_any_name_and_is_always_there_as_an_item(name):
    assert Example({name: 1})[name] == 1
    assert Prediction({name: 1})[name] == 1


def test_records_of_different_kinds_or_values_differ():
    assert Example(a=1) != Prediction(a=1)
    assert Example(a=1) != Example(a=2)
    assert Example(a=1) != {"a": 1}


@pytest.mark.parametrize(
    "clone",
    [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))],  # noqa: S301 - our own
)
def test_copies_are_equal_and_know_their_inputs(clone):
    example = clone(TICKET.with_inputs("text"))
    assert example == TICKET
    assert example.input_names == ("text",)


def test_a_prediction_tells_what_it_took():
    prediction = Prediction(team="bug").with_usage(Usage(lm_calls=2))
    assert (prediction.team, prediction.usage.lm_calls) == ("bug", 2)
    assert Prediction(team="bug").usage == Usage()


def test_a_record_shows_its_fields():
    assert repr(Prediction(team="bug", score=1)) == "Prediction(team='bug', score=1)"


def test_the_first_row_that_does_not_know_its_inputs_is_named():
    require_inputs([TICKET.with_inputs("text")], what="devset")
    with pytest.raises(DatasetError, match="devset, row 1: which fields"):
        require_inputs([TICKET.with_inputs("text"), TICKET], what="devset")


def test_usages_add_up_and_one_unknown_price_makes_the_sum_unknown():
    paid = Usage(lm_calls=1, prompt_tokens=10, completion_tokens=2, cost_usd=0.5)
    assert paid + paid + Usage(cached_calls=1) == Usage(
        lm_calls=2, cached_calls=1, prompt_tokens=20, completion_tokens=4, cost_usd=1.0
    )
    assert (paid + Usage(lm_calls=1, cost_usd=None)).cost_usd is None
