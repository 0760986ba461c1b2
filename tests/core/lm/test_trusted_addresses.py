"""A run may name an address, but the key is the worker's: it goes to addresses that the worker knows."""

import pytest
from aiohttp import web

from dspex_core import LM
from dspex_core.errors import ConfigurationError, LMNotFoundError, TrustError
from dspex_core.lm import TrustedAddresses
from dspex_core.seam import LMConfig, LMRequest, Message

REQUEST = LMRequest(messages=(Message(role="user", content="hello"),))
NAMED = "https://models.example.com/team-a/v1"


def served_at(api_base, model="openai/mine", **options):
    return LMConfig(model=model, api_base=api_base, **options)


@pytest.fixture(autouse=True)
def _no_addresses_in_the_environment(monkeypatch):
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "AZURE_OPENAI_ENDPOINT", "VLLM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("model", "api_base"),
    [
        ("openai/mine", None),
        ("openai/mine", "https://api.openai.com/v1"),
        ("openai/mine", "https://API.openai.com:443/v1/"),
        ("groq/mine", "https://api.groq.com/openai/v1"),
        ("anthropic/mine", "https://api.anthropic.com"),
        ("anthropic/mine", "https://api.anthropic.com/v1"),
        ("openai/mine", "http://127.0.0.1:8000/v1"),
        ("openai/mine", "http://127.8.8.8:8000"),
        ("openai/mine", "http://localhost:1234/v1"),
        ("openai/mine", "http://[::1]:8000/v1"),
        ("openai/mine", NAMED),
        ("openai/mine", f"{NAMED}/below"),
        ("anthropic/mine", NAMED),
    ],
)
def test_known_addresses_are_trusted(model, api_base):
    TrustedAddresses([NAMED]).require(served_at(api_base, model))


@pytest.mark.parametrize(
    "api_base",
    [
        "https://api.openai.com.evil.example/v1",
        "https://evil.example/api.openai.com/v1",
        "https://api-openai.com/v1",
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com/v11",
        "https://api.openai.com/",
        "https://api.groq.com/openai/v1",
        "http://localhost.evil.example/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://evil.example\\@127.0.0.1/v1",
        "http://127.0.0.1\\@evil.example/v1",
        "http://127.0.0.1#@evil.example/v1",
        "http://127.0.0.1?@evil.example/v1",
        "http://127.0.0.1:80:80/v1",
        "http://127.0.0.1%2eevil.example/v1",
        "http://127.0.0.1\t.evil.example/v1",
        "http://\u2460\u2461\u2466.0.0.1/v1",
        "http://0.0.0.0:8000/v1",
        "http://169.254.169.254/latest",
        "https://models.example.com/team-b/v1",
        "https://models.example.com/team-a",
        "https://models.example.com/team-a/v1/../../team-b/v1",
        "https://models.example.com/team-a/v1/%2e%2e/%2e%2e/team-b",
        "https://models.example.com/team-a/v1/..;/team-b",
        "https://models.example.com./team-a/v1",
    ],
)
def test_others_are_not_however_alike_they_look(api_base):
    # Those with an @ are no address of a model to begin with.
    with pytest.raises((TrustError, ConfigurationError), match=r"sends no key|must not hold a user name"):
        TrustedAddresses([NAMED]).require(served_at(api_base))


def test_a_refusal_says_which_address_and_what_to_do():
    with pytest.raises(TrustError) as caught:
        TrustedAddresses().require(served_at("https://gateway.example/v1"))
    for part in ("openai/mine", "--trust-api-base https://gateway.example/v1", "DSPEX_TRUSTED_API_BASES"):
        assert part in str(caught.value)


def test_the_address_in_the_workers_own_environment_is_trusted_for_that_provider_alone(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example/v1/")
    TrustedAddresses().require(served_at("https://gateway.example/v1"))
    TrustedAddresses().require(served_at("https://gateway.example/v1/deeper"))
    with pytest.raises(TrustError):
        TrustedAddresses().require(served_at("https://gateway.example/v1", "groq/mine"))


def test_anthropics_address_is_the_same_with_and_without_its_version(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://gateway.example/claude/v1")
    TrustedAddresses().require(served_at("https://gateway.example/claude", "anthropic/mine"))
    with pytest.raises(TrustError):
        TrustedAddresses().require(served_at("https://gateway.example", "anthropic/mine"))


def test_a_fallback_is_looked_at_as_well():
    other = served_at("https://evil.example/v1", "openai/second")
    with pytest.raises(TrustError, match="openai/second"):
        TrustedAddresses().require(served_at(None, fallbacks=(other,)))


@pytest.mark.parametrize(
    "address",
    ["models.example.com", "https://user:a-password@models.example.com/v1", "https://models.example.com/?a=b", "*"],
)
def test_what_is_no_plain_address_cannot_be_named(address):
    with pytest.raises(ConfigurationError, match="cannot be trusted") as caught:
        TrustedAddresses([address])
    assert "a-password" not in str(caught.value)


async def whole(lm):
    await lm.generate(REQUEST)


async def streamed(lm):
    _ = [piece async for piece in lm.stream(REQUEST)]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("model", ["openai/mine", "anthropic/mine", "azure/mine"])
@pytest.mark.parametrize("call", [whole, streamed])
async def test_a_key_does_not_follow_a_redirect(start_server, monkeypatch, model, status, call):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.setenv(name, "key-of-the-tests")
    other = start_server(lambda _: {})
    location = {"Location": f"{other.base_url}/elsewhere?key=1"}
    first = start_server(lambda _: web.Response(status=status, headers=location))
    lm = LM(model, api_base=first.base_url, cache=False)
    with pytest.raises(LMNotFoundError, match=f"redirects to {other.base_url}/elsewhere, where no key is sent"):
        await call(lm)
    assert len(first.calls) == 1
    assert other.calls == []
    await lm.close()


async def test_a_deployments_name_cannot_leave_its_place(start_server, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key-of-the-tests")
    server = start_server(lambda _: web.Response(status=404))
    with pytest.raises(LMNotFoundError):
        await LM("azure/../../other?x=", api_base=f"{server.root_url}/mine").generate(REQUEST)
    ((path, _, _),) = server.calls
    assert path.startswith("/mine/openai/deployments/")
