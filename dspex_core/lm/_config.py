import os
from typing import Any

from pydantic import ValidationError

from dspex_core.errors import ConfigurationError
from dspex_core.seam import LMConfig

_ENDPOINT_VARIABLES = {"openai": "OPENAI_BASE_URL"}


def endpoint_from_environment(provider: str) -> str | None:
    """The endpoint that the provider's own variable names, or None."""
    return os.environ.get(_ENDPOINT_VARIABLES[provider]) or None


def lm_config(model: str, **options: Any) -> LMConfig:
    """A checked LM configuration, with its endpoint read from the provider's variable where none is given.

    Raises:
        ConfigurationError: If an option is unknown or does not fit.
    """
    try:
        config = LMConfig(model=model, **options)
        if config.api_base is None:
            # Read here and recorded, so that a worker elsewhere calls the endpoint that the user meant.
            endpoint = endpoint_from_environment(config.provider)
            config = LMConfig.model_validate(config.model_dump() | {"api_base": endpoint})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigurationError(f"LM {model!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return config
