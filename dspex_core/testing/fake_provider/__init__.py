"""A model provider for tests: OpenAI's and Anthropic's APIs, and a model that learns from the prompt alone."""

from dspex_core.testing.fake_provider._change import SettingsChange
from dspex_core.testing.fake_provider._faults import FAULT_KINDS
from dspex_core.testing.fake_provider._process import FakeProviderProcess
from dspex_core.testing.fake_provider._script import ScriptRule
from dspex_core.testing.fake_provider._server import FakeProvider
from dspex_core.testing.fake_provider._settings import ProviderSettings
from dspex_core.testing.fake_provider._stats import EndpointStats, ProviderStats

__all__ = [
    "FAULT_KINDS",
    "EndpointStats",
    "FakeProvider",
    "FakeProviderProcess",
    "ProviderSettings",
    "ProviderStats",
    "ScriptRule",
    "SettingsChange",
]
