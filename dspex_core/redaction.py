"""Keys kept out of texts: whatever is shown, logged or recorded goes through here first."""

import os

REPLACEMENT = "[key]"
SHORTEST_KEY = 6

VARIABLES = ("_API_KEY", "_ACCESS_KEY", "_ACCESS_KEY_ID", "_ACCOUNT_KEY", "_SESSION_TOKEN", "_CLIENT_SECRET")
"""What the names of environment variables that hold keys end with: those of models, and those of object stores."""

_known: set[str] = set()


def keep_secret(key: str) -> None:
    """Remember a key, so that `redacted` finds it in texts."""
    if len(key) >= SHORTEST_KEY:
        _known.add(key)


def redacted(text: str) -> str:
    """The text without any key that this process knows: those given to `keep_secret` and those in variables."""
    values = (value.strip() for name, value in os.environ.items() if name.endswith(VARIABLES))
    keys = {value for value in values if len(value) >= SHORTEST_KEY}
    # The longest first: a key that begins with another must not lose its beginning only.
    for key in sorted(_known | keys, key=len, reverse=True):
        text = text.replace(key, REPLACEMENT)
    return text
