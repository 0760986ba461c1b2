from importlib.util import find_spec

from dspex_core.errors import ConfigurationError


def require(*libraries: str) -> None:
    """Check that libraries are installed, without importing them.

    Raises:
        ConfigurationError: If one is not; says how to install it.
    """
    for library in libraries:
        if find_spec(library) is None:
            raise ConfigurationError(f"retrieval needs {library}; run: pip install 'dspex[retrieval]'")
