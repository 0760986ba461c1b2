from contextlib import ExitStack

import pytest
from model_servers import AnyServer, ScriptedModel

import dspex_core.seam._context as context
from dspex_core.testing.fake_provider import FakeProvider


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-tests")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "anthropic-key-of-the-tests")
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(context, "_default", [])
    monkeypatch.setattr(context, "_default_adapter", [])


@pytest.fixture
def start_provider(background):
    """Starts fake providers with the settings given. They live on a loop of their own: a test may block its own."""

    def started(**settings):
        provider = stack.enter_context(background.running(FakeProvider(**settings)))
        count = provider.stats

        async def counted():
            return count()

        # Counted on its own loop: seen from another thread, an answer may be out before it is counted.
        provider.stats = lambda: background.call(counted())
        return provider

    with ExitStack() as stack:
        yield started


@pytest.fixture
def provider(start_provider):
    return start_provider()


@pytest.fixture
def start_model(background):
    """Starts scripted models, on a loop of their own too."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(background.running(ScriptedModel(answer)))


@pytest.fixture
def start_server(background):
    """Starts servers that answer every path, on a loop of their own too."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(background.running(AnyServer(answer)))
