"""A payload names the address, the worker has the key: it sends that nowhere that it was not told of."""

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import Activities
from dspex import DSPExPlugin
from dspex_core import Predict
from dspex_core.artifacts import ArtifactStore
from dspex_core.errors import ConfigurationError
from dspex_core.requests import Generate, ProgramOutline, RunProgram, StartFineTuning
from dspex_core.seam import FineTuningJob, FineTuningRequest, LMConfig, LMRequest, Message, TrainingStep
from dspex_core.testing import FakeProvider

REQUEST = LMRequest(messages=(Message(role="user", content="hello"),))


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-tests")


@pytest.fixture
async def provider():
    async with FakeProvider() as running:
        yield running


def elsewhere(provider):
    """The provider under an address that is not loopback's, and yet leads to it on this machine."""
    return provider.base_url.replace("127.0.0.1", "0.0.0.0")


def activities(tmp_path, *trusted):
    return Activities(ArtifactStore(tmp_path.as_uri()), trust=(), trust_api_base=trusted)


async def answered(shells, name, request):
    try:
        return await ActivityEnvironment().run(getattr(shells, name), request)
    finally:
        await shells.close()


def outline(program):
    return ProgramOutline(structure=program.reference(), state=program.get_state())


def requests_naming(address):
    """One for each way in which a payload names a model."""
    evil, home = LMConfig(model="openai/second", api_base=address), LMConfig(model="openai/first")
    program = Predict("question -> answer")
    own = Predict("question -> answer")
    own.set_lm(evil)
    step = TrainingStep(predictor="self", values={"question": "a", "answer": "b"})
    tuning = FineTuningRequest(steps=(step,) * 10, lm=evil)
    job = FineTuningJob(job_id="ftjob-1", lm=evil, status="running", examples=10)
    return {
        "the model": ("generate", Generate(request=REQUEST, lm=evil)),
        "a fallback": (
            "generate",
            Generate(request=REQUEST, lm=home.model_copy(update={"fallbacks": (evil,)})),
        ),
        "a call's own": ("generate", Generate(request=REQUEST.model_copy(update={"lm": evil}), lm=home)),
        "a predictor's own": ("run_program", RunProgram(program=outline(own), inputs={"question": "a"}, lm=home)),
        "a model to train": ("start_fine_tuning", StartFineTuning(program=outline(program), request=tuning, lm=home)),
        "a job to follow": ("follow_fine_tuning", job),
        "a job to cancel": ("cancel_fine_tuning", job),
    }


@pytest.mark.parametrize("way", requests_naming("http://x"))
async def test_an_unknown_address_gets_neither_key_nor_request(provider, tmp_path, way):
    name, request = requests_naming(elsewhere(provider))[way]
    refused = r"sends no key to http://0\.0\.0\.0:\d+/v1, .*--trust-api-base"
    with pytest.raises(ApplicationError, match=refused) as caught:
        await answered(activities(tmp_path), name, request)
    assert caught.value.type == "TrustError"
    assert not caught.value.non_retryable, "another worker may trust it"
    assert provider.stats().requests == 0


async def test_an_address_that_the_worker_was_told_of_is_called(provider, tmp_path):
    name, request = requests_naming(elsewhere(provider))["a predictor's own"]
    answer = await answered(activities(tmp_path, elsewhere(provider)), name, request)
    assert answer.usage.models == ("openai/second",)


async def test_a_fleet_names_addresses_in_its_environment(provider, tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_TRUSTED_API_BASES", f"https://other.example/v1, {elsewhere(provider)}")
    plugin = DSPExPlugin(artifacts=tmp_path.as_uri())
    shells = plugin._shells[0].__self__
    name, request = requests_naming(elsewhere(provider))["the model"]
    assert (await answered(shells, name, request)).usage.models == ("openai/second",)


@pytest.mark.parametrize("variable", [True, False])
def test_a_plugin_refuses_what_is_no_address(tmp_path, monkeypatch, variable):
    if variable:
        monkeypatch.setenv("DSPEX_TRUSTED_API_BASES", "my-server")
    with pytest.raises(ConfigurationError, match="'my-server' cannot be trusted"):
        DSPExPlugin(artifacts=tmp_path.as_uri(), trust_api_base=() if variable else ["my-server"])
