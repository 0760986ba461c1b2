"""What the environment says about this installation; every function reads it when called and keeps nothing."""

import logging
import os
import re

from dspex_core.errors import UnknownNameError
from dspex_core.home import home

__all__ = ["artifacts_url", "encryption_key", "home", "log_level", "task_queue", "trusted_api_bases"]

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


def trusted_api_bases() -> tuple[str, ...]:
    """Give the addresses of models that DSPEX_TRUSTED_API_BASES names, with commas or blanks between them."""
    return tuple(re.findall(r"[^\s,]+", os.environ.get("DSPEX_TRUSTED_API_BASES", "")))


def log_level() -> int:
    """Give the level of the standard library's logging that DSPEX_LOG_LEVEL names, in any case; WARNING by default.

    Raises:
        UnknownNameError: It names no level.
    """
    name = os.environ.get("DSPEX_LOG_LEVEL") or "WARNING"
    if name.upper() not in _LEVELS:
        raise UnknownNameError("DSPEX_LOG_LEVEL", name, _LEVELS)
    return logging.getLevelNamesMapping()[name.upper()]
