import logging

import pytest
from model_servers import chat_answer, refusal

from dspex_core import LM
from dspex_core.errors import ConfigurationError, LMAuthenticationError, LMRequestError
from dspex_core.home import home
from dspex_core.lm import PRESETS
from dspex_core.retrieval import Embedder
from dspex_core.seam import LMRequest, Message

REQUEST = LMRequest(messages=(Message(role="user", content="hello"),))
KEY = "sk-known-key-of-this-test"


def answered_in_every_api(_):
    anthropic = {"content": [{"type": "text", "text": "hi"}]}
    responses = {"output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]}
    answer = chat_answer("hi") | anthropic | responses
    answer["usage"] |= {"input_tokens": 1, "output_tokens": 1}
    return answer


def streamed_in_every_api():
    usage = {"input_tokens": 1, "output_tokens": 1}
    return [
        {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}], "type": "ping"},
        {"type": "message_start", "message": {"usage": usage}},
        {"type": "response.completed", "response": answered_in_every_api(None)},
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize("provider", sorted(PRESETS))
async def test_a_provider_is_called_with_the_key_of_its_variable(start_server, monkeypatch, provider):
    server = start_server(answered_in_every_api)
    monkeypatch.setenv(PRESETS[provider].key_variable, KEY)
    lm = LM(f"{provider}/some/model", api_base=server.base_url)
    assert (await lm.generate(REQUEST)).text == "hi"
    ((path, headers, body),) = server.calls
    assert KEY in (headers.get("Authorization", "") + headers.get("api-key", "") + headers.get("X-Api-Key", ""))
    assert body["model"] == "some/model"
    assert path.startswith("/v1/messages" if provider == "anthropic" else "/v1/")


@pytest.mark.parametrize("provider", [name for name, preset in PRESETS.items() if preset.needs_key])
def test_a_provider_without_its_key_says_which_variable_to_set(monkeypatch, provider):
    monkeypatch.delenv(PRESETS[provider].key_variable, raising=False)
    lm = LM(f"{provider}/model", api_base="http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=f"set {PRESETS[provider].key_variable}"):
        lm.check()


@pytest.mark.parametrize("provider", ["ollama", "vllm"])
async def test_a_server_of_ones_own_needs_no_key(start_server, monkeypatch, provider):
    monkeypatch.delenv(PRESETS[provider].key_variable, raising=False)
    server = start_server(lambda _: chat_answer("hi"))
    assert (await LM(f"{provider}/llama3", api_base=server.base_url).generate(REQUEST)).text == "hi"


@pytest.mark.parametrize("provider", [name for name, preset in PRESETS.items() if preset.url_variable])
async def test_the_address_in_a_providers_variable_is_called_and_recorded(start_server, monkeypatch, provider):
    server = start_server(answered_in_every_api)
    monkeypatch.setenv(PRESETS[provider].key_variable, KEY)
    monkeypatch.setenv(PRESETS[provider].url_variable, server.base_url)
    lm = LM(f"{provider}/model")
    assert lm.config.api_base == server.base_url
    assert (await lm.generate(REQUEST)).text == "hi"


@pytest.mark.parametrize("provider", ["vllm", "azure"])
def test_a_provider_that_everyone_serves_elsewhere_needs_an_address(monkeypatch, provider):
    monkeypatch.delenv("VLLM_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match=f"api_base=…, or {PRESETS[provider].url_variable}"):
        LM(f"{provider}/model")


def test_every_other_provider_has_an_address():
    assert all(LM(f"{name}/m").endpoint == preset.url for name, preset in PRESETS.items() if preset.url)


async def test_azure_is_called_by_deployment_version_and_its_own_header(start_server, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    server = start_server(answered_in_every_api)
    await LM("azure/my-deployment", api_base=server.root_url, api_version="2025-01-01").generate(REQUEST)
    await LM("azure/my-deployment", api_base=server.root_url, model_type="responses").generate(REQUEST)
    chat, responses = [path for path, _, _ in server.calls]
    assert chat == "/openai/deployments/my-deployment/chat/completions?api-version=2025-01-01"
    assert responses == "/openai/responses?api-version=2024-10-21"
    assert [headers.get("api-key") for _, headers, _ in server.calls] == [KEY, KEY]
    assert not any("Authorization" in headers for _, headers, _ in server.calls)


async def test_an_embedder_takes_the_same_providers(start_server, monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    server = start_server(lambda _: {"data": [{"index": 0, "embedding": [1.0, 2.0]}], "usage": {"prompt_tokens": 1}})
    vectors = await Embedder("together/some-model", api_base=server.base_url).embed(["text"])
    assert vectors.tolist() == [[1.0, 2.0]]
    with pytest.raises(ConfigurationError, match="serves no embeddings"):
        Embedder("anthropic/claude-sonnet-4-5")


KINDS = {
    "chat": ("openai/gpt-4o-mini", {}),
    "responses": ("openai/gpt-4o-mini", {"model_type": "responses"}),
    "anthropic": ("anthropic/claude-sonnet-4-5", {}),
    "azure": ("azure/mine", {}),
}


@pytest.fixture
def everything_logged(caplog):
    for name in ("openai", "anthropic", "httpx", "httpx2", "httpcore", "aiohttp", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("status", "stream"), [(200, False), (200, True), (400, False), (401, True)])
async def test_a_key_is_in_no_error_log_or_file_even_when_sdks_log_everything(
    start_server, everything_logged, kind, status, stream
):
    def answer(body):
        if status != 200:
            return refusal(status, f"what key is {KEY}?")
        return streamed_in_every_api() if stream else answered_in_every_api(body)

    server = start_server(answer)
    model, options = KINDS[kind]
    lm = LM(model, api_base=server.base_url, api_key=KEY, **options)
    told = repr(lm) + lm.config.model_dump_json()
    try:
        if stream:
            told += str([piece async for piece in lm.stream(REQUEST)])
        else:
            told += repr(await lm.generate(REQUEST))
    except (LMRequestError, LMAuthenticationError) as error:
        told += f"{error!r}{error}{error.__cause__!r}"
    assert server.calls
    assert everything_logged.text or not stream
    kept = b"".join(file.read_bytes() for file in home().rglob("*") if file.is_file())
    assert KEY not in told + everything_logged.text + kept.decode(errors="replace")
