"""What the environment says about this installation; every function reads it when called and keeps nothing."""

import logging
import os
from pathlib import Path

import platformdirs

from dspex_core.errors import ConfigurationError, UnknownNameError

__all__ = ["artifacts_url", "cache_dir", "home", "log_level", "task_queue"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def home() -> Path:
    """Give the folder for cache, artifacts, dev server state and binaries; it exists when this returns.

    It is DSPEX_HOME, or the platform's user data folder for "dspex".

    Raises:
        ConfigurationError: The folder cannot be made or written to.
    """
    given = os.environ.get("DSPEX_HOME")
    folder = Path(given or platformdirs.user_data_dir("dspex", appauthor=False)).expanduser().absolute()
    return _writable(folder, "DSPEX_HOME" if given else "the user data folder")


def cache_dir() -> Path:
    """Give the folder of cached model answers, inside `home`; it exists when this returns.

    Raises:
        ConfigurationError: The folder cannot be made or written to.
    """
    return _writable(home() / "cache", "the cache folder")


def artifacts_url() -> str:
    """Give the URL of the artifact store: DSPEX_ARTIFACTS, or the file URL of `artifacts` inside `home`."""
    return os.environ.get("DSPEX_ARTIFACTS") or (home() / "artifacts").as_uri()


def task_queue() -> str:
    """Give the task queue that clients and workers meet on: DSPEX_TASK_QUEUE, or "dspex"."""
    return os.environ.get("DSPEX_TASK_QUEUE") or "dspex"


def log_level() -> int:
    """Give the level of the standard library's logging that DSPEX_LOG_LEVEL names, in any case; WARNING by default.

    Raises:
        UnknownNameError: It names no level.
    """
    name = os.environ.get("DSPEX_LOG_LEVEL") or "WARNING"
    if name.upper() not in _LEVELS:
        raise UnknownNameError("DSPEX_LOG_LEVEL", name, _LEVELS)
    return logging.getLevelNamesMapping()[name.upper()]


def _writable(folder: Path, what: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{what} {str(folder)!r} cannot be made ({error.strerror}): set DSPEX_HOME to a folder you can write to"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{what} {str(folder)!r} is not writable: change its permissions, or set DSPEX_HOME to another folder"
        )
    return folder
