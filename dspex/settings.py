"""What the environment says about this installation; every function reads it when called and keeps nothing."""

import logging
import os
import re

from dspex_core.errors import ConfigurationError, UnknownNameError
from dspex_core.home import home

__all__ = [
    "artifacts_url",
    "build_id",
    "deployment",
    "encryption_key",
    "environment_queue",
    "home",
    "log_level",
    "park_after_seconds",
    "task_queue",
    "tracing",
    "trusted_api_bases",
]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def artifacts_url() -> str:
    """Give the URL of the artifact store: DSPEX_ARTIFACTS, or the file URL of `artifacts` inside `home`."""
    return os.environ.get("DSPEX_ARTIFACTS") or (home() / "artifacts").as_uri()


def encryption_key() -> str | None:
    """Give the keys that DSPEX_ENCRYPTION_KEY has, as `Keyring.parse` reads them; None if it is not set or empty."""
    return os.environ.get("DSPEX_ENCRYPTION_KEY") or None


def task_queue() -> str:
    """Give the task queue that clients and workers meet on: DSPEX_TASK_QUEUE, or "dspex"."""
    return os.environ.get("DSPEX_TASK_QUEUE") or "dspex"


def tracing() -> bool:
    """Whether traces are wanted: OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names a receiver."""
    return any(os.environ.get(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT") for kind in ("", "TRACES_"))


def trusted_api_bases() -> tuple[str, ...]:
    """Give the addresses of models that DSPEX_TRUSTED_API_BASES names, with commas or blanks between them."""
    return tuple(re.findall(r"[^\s,]+", os.environ.get("DSPEX_TRUSTED_API_BASES", "")))


def environment_queue(environment: str) -> str:
    """Give the task queue of activities that need an environment, such as "dspex-eval-gpu" for "gpu".

    Raises:
        ConfigurationError: It is no name: letters, digits, dots, dashes and underscores, at most 64.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", environment):
        raise ConfigurationError(
            f"the environment {environment[:80]!r} is no name: "
            "take up to 64 letters, digits, dots, dashes and underscores"
        )
    return f"{task_queue()}-eval-{environment}"


def build_id() -> str | None:
    """Give the version of the code that workers started here run: DSPEX_BUILD_ID, or None."""
    return os.environ.get("DSPEX_BUILD_ID") or None


def deployment() -> str:
    """Give the name under which the server knows all builds of a fleet: DSPEX_DEPLOYMENT, or "dspex"."""
    return os.environ.get("DSPEX_DEPLOYMENT") or "dspex"


def park_after_seconds() -> float:
    """Give how long a provider or a store may fail before a run is parked: DSPEX_PARK_AFTER_SECONDS, or ten minutes.

    Raises:
        ConfigurationError: It is no number.
    """
    text = os.environ.get("DSPEX_PARK_AFTER_SECONDS") or "600"
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"DSPEX_PARK_AFTER_SECONDS is {text!r}, and no number of seconds") from None


def log_level() -> int:
    """Give the level of the standard library's logging that DSPEX_LOG_LEVEL names, in any case; WARNING by default.

    Raises:
        UnknownNameError: It names no level.
    """
    name = os.environ.get("DSPEX_LOG_LEVEL") or "WARNING"
    if name.upper() not in _LEVELS:
        raise UnknownNameError("DSPEX_LOG_LEVEL", name, _LEVELS)
    return logging.getLevelNamesMapping()[name.upper()]
