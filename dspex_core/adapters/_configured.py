from dspex_core.adapters._base import Adapter
from dspex_core.adapters._chat import ChatAdapter
from dspex_core.adapters._json import JSONAdapter
from dspex_core.adapters._two_step import TwoStepAdapter
from dspex_core.adapters._xml import XMLAdapter
from dspex_core.errors import ConfigurationError
from dspex_core.seam import AdapterConfig

DEFAULT = ChatAdapter()
"""The adapter where none was chosen."""


def adapter_of(config: AdapterConfig | None) -> Adapter:
    """The adapter that a configuration describes; the default for None.

    Raises:
        ConfigurationError: If it describes a two-step adapter without the model that reads the answers.
    """
    if config is None:
        return DEFAULT
    made = _made.get(config)
    if made is None:
        made = _made[config] = _make(config)
    return made


_made: dict[AdapterConfig, Adapter] = {}


def _make(config: AdapterConfig) -> Adapter:
    fallback = [adapter_of(other) for other in config.fallback]
    match config.name:
        case "chat":
            return ChatAdapter(native_tools=config.native_tools, fallback=fallback)
        case "json":
            return JSONAdapter(
                structured_output=config.structured_output, native_tools=config.native_tools, fallback=fallback
            )
        case "xml":
            return XMLAdapter(native_tools=config.native_tools, fallback=fallback)
        case "two_step":
            if config.extraction_lm is None:
                raise ConfigurationError("a two-step adapter needs extraction_lm, the model that reads the answers")
            return TwoStepAdapter(config.extraction_lm, fallback=fallback)
