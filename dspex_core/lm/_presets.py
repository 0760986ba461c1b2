"""Which providers there are. One line more makes one more: everything else goes by this table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from dspex_core.errors import ConfigurationError


@dataclass(frozen=True)
class Preset:
    """How a provider is reached.

    Attributes:
        key_variable: Environment variable of its API key.
        url: Where its API is served; None if every user has an address of their own.
        url_variable: Environment variable that names another address.
        api: Whose API it speaks.
        needs_key: Whether it answers nobody without a key.
    """

    key_variable: str
    url: str | None = None
    url_variable: str | None = None
    api: Literal["openai", "azure", "anthropic"] = "openai"
    needs_key: bool = True


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "openai": Preset("OPENAI_API_KEY", "https://api.openai.com/v1", "OPENAI_BASE_URL"),
        "anthropic": Preset("ANTHROPIC_API_KEY", "https://api.anthropic.com", "ANTHROPIC_BASE_URL", api="anthropic"),
        "azure": Preset("AZURE_OPENAI_API_KEY", None, "AZURE_OPENAI_ENDPOINT", api="azure"),
        "gemini": Preset("GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai"),
        "groq": Preset("GROQ_API_KEY", "https://api.groq.com/openai/v1"),
        "ollama": Preset("OLLAMA_API_KEY", "http://127.0.0.1:11434/v1", "OLLAMA_BASE_URL", needs_key=False),
        "openrouter": Preset("OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
        "together": Preset("TOGETHER_API_KEY", "https://api.together.xyz/v1"),
        "vllm": Preset("VLLM_API_KEY", None, "VLLM_BASE_URL", needs_key=False),
    }
)
"""Providers by the name before the slash of a model's."""


def preset_of(model: str) -> Preset:
    """How a model's provider is reached.

    Args:
        model: Provider and model.

    Raises:
        ConfigurationError: If there is no such provider.
    """
    try:
        return PRESETS[model.partition("/")[0]]
    except KeyError:
        raise ConfigurationError(
            f"LM {model!r}: write provider/model, for example 'openai/gpt-4o-mini' (providers: {', '.join(PRESETS)}; "
            "any other server that speaks OpenAI's API is openai/NAME with api_base)"
        ) from None
