"""Models: clients of providers, with limits, retries and a cache."""

from dspex_core.lm._attempts import in_turns
from dspex_core.lm._breaker_report import BreakerReport, broken_models
from dspex_core.lm._cache import ResponseCache
from dspex_core.lm._config import endpoint_from_environment, lm_config, served_at
from dspex_core.lm._disk import DiskStore
from dspex_core.lm._endpoint import Endpoint
from dspex_core.lm._history import LMCall
from dspex_core.lm._inspect import inspect_history
from dspex_core.lm._keys import checked_key
from dspex_core.lm._lm import LM
from dspex_core.lm._pool import pool_of
from dspex_core.lm._presets import PRESETS, Preset, preset_of
from dspex_core.lm._prices import cost_usd
from dspex_core.lm._retrying import retrying
from dspex_core.lm._store import CacheStats
from dspex_core.lm._trusted import TrustedAddresses

__all__ = [
    "LM",
    "PRESETS",
    "BreakerReport",
    "CacheStats",
    "DiskStore",
    "Endpoint",
    "LMCall",
    "Preset",
    "ResponseCache",
    "TrustedAddresses",
    "broken_models",
    "checked_key",
    "cost_usd",
    "endpoint_from_environment",
    "in_turns",
    "inspect_history",
    "lm_config",
    "pool_of",
    "preset_of",
    "retrying",
    "served_at",
]
