from hypothesis import given
from hypothesis import strategies as st

from dspex_core.lm._breaker import FAILURES, LONGEST_PAUSE_SECONDS, Breaker


def opened(now=0.0, **options):
    breaker = Breaker(**options)
    for _ in range(FAILURES):
        breaker.failed(now, "down", probe=False)
    return breaker


def test_ten_failures_in_a_row_open_it():
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(0.0, "down", probe=False)
    assert breaker.wait(0.0) == 0.0
    breaker.failed(0.0, "down", probe=False)
    assert (breaker.state, breaker.wait(0.0)) == ("open", 1.0)


def test_an_answer_between_failures_keeps_it_closed():
    breaker = Breaker()
    for _ in range(FAILURES * 3):
        breaker.failed(0.0, "down", probe=False)
        breaker.answered(probe=False)
    assert breaker.state == "closed"


def test_after_the_pause_one_call_is_the_probe_and_no_other_is_sent():
    breaker = opened()
    assert breaker.wait(0.9) > 0
    assert breaker.wait(1.0) == 0.0
    assert breaker.sends(1.0)
    assert (breaker.state, breaker.wait(100.0)) == ("half_open", None)


def test_a_probe_that_is_answered_closes_it():
    breaker = opened()
    breaker.sends(1.0)
    breaker.answered(probe=True)
    assert (breaker.state, breaker.wait(1.0)) == ("closed", 0.0)
    assert not breaker.sends(1.0)


def test_probes_that_fail_come_at_growing_distances_up_to_a_longest():
    breaker, now, distances = opened(), 0.0, []
    for _ in range(7):
        distances.append(breaker.wait(now))
        now += distances[-1]
        breaker.sends(now)
        breaker.failed(now, "down", probe=True)
    assert distances == [1, 2, 4, 8, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]


def test_a_probe_that_is_given_up_lets_the_next_call_be_the_probe():
    breaker = opened()
    breaker.sends(1.0)
    breaker.abandoned(probe=True)
    assert breaker.wait(1.0) == 0.0


def test_late_failures_of_calls_sent_before_it_opened_change_nothing():
    breaker = opened()
    breaker.failed(0.5, "late", probe=False)
    assert (breaker.tries_again_at, breaker.reason) == (1.0, "down")


def test_late_answers_to_calls_sent_before_it_opened_change_nothing():
    breaker = opened()
    breaker.answered(probe=False)
    assert (breaker.state, breaker.wait(0.5)) == ("open", 0.5)
    breaker.sends(1.0)
    breaker.answered(probe=False)
    assert (breaker.state, breaker.wait(1.0)) == ("half_open", None)


def test_every_change_is_told_once():
    told = []
    breaker = opened(on_change=lambda *change: told.append(change))
    breaker.sends(1.0)
    breaker.failed(1.0, "still down", probe=True)
    breaker.sends(3.0)
    breaker.answered(probe=True)
    breaker.answered(probe=False)
    assert told == [
        ("open", 1.0, "down"),
        ("half_open", 0.0, ""),
        ("open", 2.0, "still down"),
        ("half_open", 0.0, ""),
        ("closed", 0.0, ""),
    ]


@given(st.lists(st.sampled_from(["send", "answer", "fail", "give up", "wait"]), max_size=200))
def test_there_is_never_more_than_one_probe(actions):
    breaker, now, probes = opened(), 0.0, 0
    for action in actions:
        if action == "wait":
            now += 1.0
        elif action == "send" and breaker.wait(now) == 0.0 and breaker.state != "closed":
            probes += breaker.sends(now)
        elif probes and action == "answer":
            breaker.answered(probe=True)
            probes -= 1
        elif probes and action == "fail":
            breaker.failed(now, "down", probe=True)
            probes -= 1
        elif probes and action == "give up":
            breaker.abandoned(probe=True)
            probes -= 1
        assert probes <= 1
