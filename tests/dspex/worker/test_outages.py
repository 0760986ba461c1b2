import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

from dspex.worker import DSPExPlugin
from dspex.worker._outages import TRIES_OF_A_REFUSAL, Outages
from dspex_core.errors import ArtifactAccessError, ArtifactError
from dspex_core.requests import Held

KEYS = "one:" + "A" * 43 + "="
LARGE = "demo " * 5000


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_PARK_AFTER_SECONDS", "0")

    def make(keys=None):
        return DSPExPlugin(artifacts=tmp_path.as_uri(), encryption_key=keys)._converter

    return make


async def failure_of(converter, payloads):
    """What an activity whose arguments these are is reported to have failed of, as the SDK does it."""
    failure = Failure()
    try:
        await converter.decode(payloads)
    except ArtifactError as error:
        wrapped = ApplicationError("Failed decoding arguments")
        wrapped.__cause__ = error
        await converter.encode_failure(wrapped, failure)
    return await converter.decode_failure(failure)


@pytest.mark.parametrize("keys", [None, KEYS])
async def test_arguments_that_are_missing_for_long_park_the_run_and_not_at_once(made, keys, tmp_path):
    converter = made(keys)
    payloads = await converter.encode([LARGE])
    [file] = [path for path in tmp_path.rglob("*") if path.is_file()]
    content = file.read_bytes()
    file.unlink()
    for _ in range(TRIES_OF_A_REFUSAL - 1):
        assert not (await failure_of(converter, payloads)).non_retryable
    failure = await failure_of(converter, payloads)
    assert failure.non_retryable
    assert Held.model_validate(failure.details[0]).reason.startswith("ArtifactMissingError: artifact ")
    file.write_bytes(content)
    assert await converter.decode(payloads) == [LARGE]
    file.unlink()
    assert not (await failure_of(converter, payloads)).non_retryable


def test_an_outage_lasts_once_it_was_met_three_times_over_the_time_given():
    now = [0.0]
    outages = Outages(600.0, clock=lambda: now[0])
    lasting = []
    for now[0] in (0, 1, 599, 601):
        lasting.append(outages.failed("this", ArtifactError("away")).lasts)
    assert lasting == [False, False, False, True]
    assert not outages.failed("that", ArtifactError("away")).lasts
    outages.over("this")
    assert not outages.failed("this", ArtifactError("away")).lasts


def test_a_refusal_lasts_after_a_few_tries():
    outages = Outages(600.0)
    lasting = [outages.failed("this", ArtifactAccessError("no")).lasts for _ in range(TRIES_OF_A_REFUSAL)]
    assert lasting == [False] * (TRIES_OF_A_REFUSAL - 1) + [True]


async def test_an_error_of_another_kind_is_reported_as_it_is(made):
    converter, failure = made(), Failure()
    await converter.encode_failure(ApplicationError("as it was", type="Other"), failure)
    assert str(await converter.decode_failure(failure)) == "Other: as it was"
