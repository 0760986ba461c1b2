from workflows._incoming import Incoming


def heard(*told):
    incoming = Incoming()
    for start, text in told:
        incoming.hear(start, text)
    return incoming


def test_text_is_taken_once_in_its_order():
    incoming = heard((0, "Bil"), (3, "ling"))
    assert incoming.has_more
    assert incoming.take() == "Billing"
    assert not incoming.has_more
    assert incoming.rest("Billing, surely") == ", surely"


def test_another_try_that_says_the_same_says_nothing_twice():
    incoming = heard((0, "Billing"), (0, "Bil"), (3, "ling, surely"))
    assert incoming.take() == "Billing, surely"


def test_a_try_that_says_something_else_is_heard_no_further():
    incoming = heard((0, "Billing"), (0, "Ship"), (4, "ping"))
    assert incoming.take() == "Billing"
    assert incoming.rest("Shipping") == ""


def test_what_does_not_join_is_left_to_the_whole_answer():
    incoming = heard((0, "Bil"), (5, "ng"))
    assert incoming.take() == "Bil"
    assert incoming.rest("Billing") == "ling"
