"""Hiding the names that would give a description's area away."""

import re
from collections.abc import Iterable
from functools import lru_cache

MASK = "___"

_SHORT = 3
# Where one word of a name ends and the next begins: "HTTPConnection", "readText", "utf8".
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_RUN_OF_MASKS = re.compile(rf"{MASK}(?:[.\s]*{MASK})+")


def mask_names(text: str, names: Iterable[str]) -> str:
    """Replace every name by ``___``: as written, in another case, and with its words apart ("read text").

    A name is replaced only where it stands alone, so "path" leaves "pathological" as it is; its plural goes with it.
    Names of one or two letters are replaced only in their own case, since they are words of English too.
    """
    folded = text.casefold()
    for name in sorted({name.strip("_") for name in names}, key=lambda name: (-len(name), name)):
        if _first_word(name).casefold() in folded:
            text = _pattern(name).sub(MASK, text)
    return _RUN_OF_MASKS.sub(MASK, text)


def _first_word(name: str) -> str:
    word = _WORD.match(name)
    return word.group() if word else name


@lru_cache(maxsize=4096)
def _pattern(name: str) -> re.Pattern[str]:
    words = _WORD.findall(name) or [name]
    apart = r"[\s_-]*".join(re.escape(word) for word in words)
    plural = "" if len(name) < _SHORT else "(?:e?s)?"
    return re.compile(
        rf"(?<![^\W_])_*(?:{re.escape(name)}|{apart}){plural}_*(?![^\W_])",
        0 if len(name) < _SHORT else re.IGNORECASE,
    )
