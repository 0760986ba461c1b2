import sys
from importlib import import_module
from typing import Any

from dspex_core.errors import ConfigurationError


def library() -> Any:
    """DSPy.

    Raises:
        ConfigurationError: If it is not installed.
    """
    try:
        return import_module("dspy")
    except ImportError as error:
        raise ConfigurationError(f"a DSPy program needs DSPy ({error}); run: pip install 'dspex[dspy]'") from None


def is_dspy_module(given: Any) -> bool:
    """Whether this is a `dspy.Module`, or a class of them; where DSPy was not imported, nothing is."""
    base = getattr(sys.modules.get("dspy"), "Module", None)
    return base is not None and isinstance(given, base | type) and (isinstance(given, base) or issubclass(given, base))


def is_dspy_example(given: Any) -> bool:
    """Whether this is a `dspy.Example`."""
    kind = getattr(sys.modules.get("dspy"), "Example", None)
    return kind is not None and isinstance(given, kind)
