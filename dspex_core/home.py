"""Where DSPEx keeps what outlives a process."""

import os
from pathlib import Path

from dspex_core.errors import ConfigurationError


def home() -> Path:
    """The folder for cache, artifacts, dev server state and binaries: DSPEX_HOME, or the platform's user data folder.

    Raises:
        ConfigurationError: If it cannot be created or written to.
    """
    named = os.environ.get("DSPEX_HOME")
    if named:
        folder = Path(named).expanduser().absolute()
    else:
        from platformdirs import user_data_path  # noqa: PLC0415 - kept off the import of dspex_core

        folder = user_data_path("dspex")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot use {folder} ({error.strerror}): set DSPEX_HOME to a folder you can write to"
        ) from None
    if not os.access(folder, os.W_OK):
        raise ConfigurationError(f"cannot write to {folder}: set DSPEX_HOME to a folder you can write to")
    return folder
