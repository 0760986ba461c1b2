from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from dspex_core.lm._rates import Rate, exhausted_for, retry_after


def test_a_rate_lets_a_second_s_worth_through_at_once_and_then_spreads_the_rest():
    rate, now, sent = Rate(600), 100.0, []
    for _ in range(25):
        now += rate.wait(now, 1)
        rate.take(now, 1)
        sent.append(round(now - 100, 3))
    assert sent[:10] == [0.0] * 10
    assert sent[10:] == [pytest.approx(0.1 * number) for number in range(1, 16)]


def test_what_was_taken_too_much_is_waited_for_and_what_was_taken_too_little_is_given_back():
    rate = Rate(60_000)
    rate.take(0.0, 1000)
    rate.take(0.0, 500)
    assert rate.wait(0.0, 100) == pytest.approx(0.6)
    rate.take(0.0, -700)
    assert rate.wait(0.0, 100) == 0.0


def test_one_call_larger_than_the_rate_of_a_second_is_let_through_in_the_end():
    rate = Rate(60)
    assert rate.wait(0.0, 1000) == 0.0
    rate.take(0.0, 1000)
    assert rate.wait(0.0, 1000) == pytest.approx(1000)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("0.5", 0.5), ("-1", 0), ("", None), ("soon", None)])
def test_seconds_to_wait_are_read(header, seconds):
    assert retry_after({"retry-after": header}) == seconds


@pytest.mark.parametrize(("milliseconds", "seconds"), [("250", 0.25), ("-1", 0), ("", 1), ("soon", 1)])
def test_milliseconds_are_read_before_seconds(milliseconds, seconds):
    assert retry_after({"retry-after-ms": milliseconds, "retry-after": "1"}) == seconds


def test_a_date_to_wait_for_is_read():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after({"retry-after": date}) == pytest.approx(59.5, abs=1)
    assert retry_after({"retry-after": "Mon, 01 Jan 2024 00:00:00 GMT"}) == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "1s"}, 0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "250ms"}, 0.25),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3"}, 3),
        ({"x-ratelimit-remaining-tokens": "0"}, 0),
        ({"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "Tomorrow"}, 0),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2024-01-01T00:00:00Z",
            },
            0,
        ),
    ],
)
def test_a_limit_that_is_used_up_is_waited_for(headers, seconds):
    assert exhausted_for(headers) == pytest.approx(seconds)


def test_a_limit_s_reset_may_be_a_date():
    reset = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    headers = {"anthropic-ratelimit-input-tokens-remaining": "0", "anthropic-ratelimit-input-tokens-reset": reset}
    assert exhausted_for(headers) == pytest.approx(60, abs=1)


@pytest.mark.parametrize("skew_hours", [-3, 3])
def test_dates_of_a_server_whose_clock_is_wrong_are_read_by_that_clock(skew_hours):
    there = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=skew_hours)
    sent, later = format_datetime(there, usegmt=True), there + timedelta(seconds=60)
    assert retry_after({"date": sent, "retry-after": format_datetime(later, usegmt=True)}) == 60
    prefix = "anthropic-ratelimit-requests"
    limited = {"date": sent, f"{prefix}-remaining": "0", f"{prefix}-reset": later.isoformat()}
    assert exhausted_for(limited) == 60
