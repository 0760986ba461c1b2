"""What activities report: whether trying again makes sense, and never a key."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities._failures import OUTAGE_SECONDS, TRIES_OF_UNFIT_WORKERS, TRIES_OF_UNKNOWN_ERRORS, reported
from dspex_core.errors import (
    ArtifactAccessError,
    ArtifactError,
    ArtifactMissingError,
    CodeMissingError,
    ConfigurationError,
    LMAuthenticationError,
    LMConnectionError,
    LMNotFoundError,
    LMProviderError,
    LMRateLimitError,
    LMRequestError,
    MetricError,
    ProgramError,
    TrustError,
)


async def failure_of(error, *, attempt=1, waited_seconds=0.0, code=None):
    """What an activity that raises this reports to the server."""
    environment = ActivityEnvironment()
    scheduled = datetime(2001, 1, 1, tzinfo=UTC)
    environment.info = replace(
        environment.info,
        attempt=attempt,
        scheduled_time=scheduled,
        started_time=scheduled + timedelta(seconds=waited_seconds),
    )

    async def work():
        raise error

    with pytest.raises(ApplicationError) as raised:
        await environment.run(partial(reported, work, code=code))
    return raised.value


@pytest.mark.parametrize("kind", [LMConnectionError, LMProviderError, LMRateLimitError, ArtifactError])
async def test_what_waiting_may_cure_is_tried_again(kind):
    failure = await failure_of(kind("later, perhaps"))
    assert not failure.non_retryable
    assert (failure.type, failure.message) == (kind.__name__, "later, perhaps")


@pytest.mark.parametrize(
    "kind",
    [LMAuthenticationError, LMNotFoundError, LMRequestError, MetricError, ProgramError],
)
async def test_what_waiting_cannot_cure_ends_the_run_at_once(kind):
    assert (await failure_of(kind("never"), attempt=1)).non_retryable


@pytest.mark.parametrize(
    "kind", [ConfigurationError, TrustError, CodeMissingError, ArtifactAccessError, ArtifactMissingError]
)
async def test_what_one_worker_lacks_another_may_have_so_it_is_tried_soon_again_and_not_for_ever(kind):
    first = await failure_of(kind("not here"))
    assert not first.non_retryable
    assert first.next_retry_delay.total_seconds() < 1
    assert (await failure_of(kind("not here"), attempt=TRIES_OF_UNFIT_WORKERS)).non_retryable


async def test_a_wait_that_the_provider_asks_for_is_kept():
    failure = await failure_of(LMRateLimitError("slowly", retry_after=7.5))
    assert failure.next_retry_delay.total_seconds() == 7.5


@pytest.mark.parametrize("kind", [LMConnectionError, ArtifactError])
async def test_an_outage_parks_the_run_when_it_has_lasted_long_by_the_servers_clock_whatever_the_workers_says(kind):
    for tries, waited, parks in (
        (50, OUTAGE_SECONDS - 1, False),
        (2, OUTAGE_SECONDS, False),
        (3, OUTAGE_SECONDS, True),
    ):
        failure = await failure_of(kind("away"), attempt=tries, waited_seconds=waited)
        assert (failure.non_retryable, bool(failure.details)) == (parks, parks)


@pytest.mark.parametrize("error", [KeyError("x"), LMConnectionError("away")])
async def test_what_fails_again_is_waited_for_twice_as_long(error):
    delays = [(await failure_of(error, attempt=tries)).next_retry_delay for tries in (1, 2)]
    assert [delay.total_seconds() for delay in delays] == [1, 2]


async def test_an_error_nobody_foresaw_is_tried_a_few_times():
    assert not (await failure_of(KeyError("x"), attempt=TRIES_OF_UNKNOWN_ERRORS - 1)).non_retryable
    assert (await failure_of(KeyError("x"), attempt=TRIES_OF_UNKNOWN_ERRORS)).non_retryable


async def test_a_metric_is_tried_again_only_if_a_service_may_have_failed_it():
    later = MetricError("no connection", retryable=True)
    assert not (await failure_of(later, attempt=TRIES_OF_UNKNOWN_ERRORS - 1)).non_retryable
    assert (await failure_of(later, attempt=TRIES_OF_UNKNOWN_ERRORS)).non_retryable


@pytest.mark.parametrize(
    ("error", "once"), [(KeyError("x"), True), (SystemExit(0), True), (ConnectionResetError("x"), False)]
)
async def test_a_defect_of_a_users_own_program_is_tried_once(error, once):
    assert (await failure_of(error, code="their_app")).non_retryable == once


async def test_no_report_holds_a_key_or_a_cause_that_might(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-told")
    for error in (LMConnectionError("with sk-not-to-be-told"), RuntimeError("headers: Bearer sk-not-to-be-told")):
        error.__cause__ = ValueError("sk-not-to-be-told")
        failure = await failure_of(error)
        assert "sk-not-to-be-told" not in str(failure)
        assert failure.__cause__ is None
