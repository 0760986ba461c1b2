import os
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from pydantic import ValidationError

from dspex_core.errors import ConfigurationError, UnknownNameError
from dspex_core.invalid import first_problem
from dspex_core.lm._presets import Preset, preset_of
from dspex_core.seam import LMConfig, configuration_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHARED_WITH_FALLBACKS = ("temperature", "max_tokens", "cache", "timeout_seconds", "deadline_seconds", "concurrency")
AZURE_API_VERSION = "2024-10-21"


def endpoint_from_environment(model: str) -> str | None:
    """The address that the variable of the model's provider names, or None."""
    variable = preset_of(model).url_variable
    return (os.environ.get(variable) or None) if variable else None


def lm_config(model: str, **options: Any) -> LMConfig:
    """A checked LM configuration, with its address read from the provider's variable where none is given.

    Args:
        model: Provider and model.
        **options: The other fields. `fallbacks` takes names of models, which then share this one's temperature, limit
            of tokens and the like, or LMs or configurations with options of their own.

    Raises:
        UnknownNameError: If there is no such option.
        ConfigurationError: If an option does not fit, or nothing says where the model is served.
    """
    if options.get("fallbacks"):
        options["fallbacks"] = _fallbacks(model, options)
    try:
        config = LMConfig(model=model, **options)
        # Read here and recorded, so that a worker elsewhere calls the address that the user meant.
        given: dict[str, Any] = {}
        if config.api_base is None:
            given["api_base"] = endpoint_from_environment(model)
        if preset_of(model).api == "azure" and config.api_version is None:
            given["api_version"] = os.environ.get("OPENAI_API_VERSION") or AZURE_API_VERSION
        if given:
            config = LMConfig(**{name: getattr(config, name) for name in LMConfig.model_fields} | given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "extra_forbidden":
            known = ("api_key", *(name for name in LMConfig.model_fields if name != "model"))
            raise UnknownNameError("LM option", str(first["loc"][-1]), known) from None
        where, what = first_problem(error)
        # Further fields of a request may be anything, a secret too.
        what = first["msg"] if first["loc"][0] == "extra" else what
        raise ConfigurationError(f"LM {model!r}: {where}: {what}") from None
    _check_address(served_at(config))
    return config


def served_at(config: LMConfig) -> str:
    """Address of the API that a model's calls go to.

    Raises:
        ConfigurationError: If nothing says where the model is served.
    """
    preset = preset_of(config.model)
    url = config.api_base or preset.url
    if url is None:
        raise ConfigurationError(f"LM {config.model!r}: say where it is served: api_base=…, or {preset.url_variable}")
    return without_version(url, preset)


def without_version(url: str, preset: Preset) -> str:
    """An address as the provider's SDK takes it: Anthropic's adds /v1 to every path, and OpenAI's does not."""
    return url.rstrip("/").removesuffix("/v1") if preset.api == "anthropic" else url


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:
        whole = False
    if not whole:
        raise ConfigurationError(
            f"api_base {url!r} is no address of an API: write http://HOST:PORT/PATH, without a query (?…)"
        )


def _fallbacks(model: str, options: dict[str, Any]) -> tuple[LMConfig, ...]:
    given = options["fallbacks"]
    if not isinstance(given, (list, tuple)):
        raise ConfigurationError(f"LM {model!r}: fallbacks are a list: fallbacks=[{given!r}]")
    shared = {name: options[name] for name in _SHARED_WITH_FALLBACKS if name in options}
    others = cast("Sequence[Any]", given)
    return tuple(lm_config(other, **shared) if isinstance(other, str) else configuration_of(other) for other in others)
