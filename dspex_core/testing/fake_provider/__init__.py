"""A model provider for tests: OpenAI's API on loopback, in front of a model that learns from the prompt alone."""

from dspex_core.testing.fake_provider._faults import FAULT_KINDS
from dspex_core.testing.fake_provider._process import FakeProviderProcess
from dspex_core.testing.fake_provider._script import ScriptRule
from dspex_core.testing.fake_provider._server import FakeProvider
from dspex_core.testing.fake_provider._settings import ProviderSettings
from dspex_core.testing.fake_provider._stats import ProviderStats

__all__ = ["FAULT_KINDS", "FakeProvider", "FakeProviderProcess", "ProviderSettings", "ProviderStats", "ScriptRule"]
