from dspex_core.errors import ConfigurationError
from dspex_core.redaction import keep_secret


def checked_key(given: object, *, model: str, source: str) -> str | None:
    """An API key without the line break that files end with; None if there is none. It is in no text from now on.

    Args:
        given: What should be a key.
        model: What it is for, for errors.
        source: Where it comes from, for errors.

    Raises:
        ConfigurationError: If it cannot be one.
    """
    if given is None:
        return None
    key = given.strip() if isinstance(given, str) else ""
    if not isinstance(given, str) or not key.isascii() or not key.isprintable():
        raise ConfigurationError(f"LM {model!r}: {source} is no API key, which is a text of printable ASCII characters")
    keep_secret(key)
    return key or None
