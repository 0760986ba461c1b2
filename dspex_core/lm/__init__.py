"""Models: clients of providers, with limits, retries and a cache."""

from dspex_core.lm._cache import ResponseCache
from dspex_core.lm._config import lm_config
from dspex_core.lm._lm import LM

__all__ = ["LM", "ResponseCache", "lm_config"]
