import re
from collections.abc import Iterable
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+")
_STOP_WORD_LINES = (
    "a about after again all also am an and any are as at be been before being but by can could did do does doing don "
    "done for from get gets getting give given go going good got had has have having he hello help her hi his how i if "
    "in into is isn it its just let like ll make may me might mine more must my need no not now of off on one only or "
    "our out please re really say see shall she should so some still such t tell thank thanks that the their them then "
    "there these they this to too try trying up us use used using ve very want wants was way we were what when where "
    "which while who why will with would yes you your"
)
_STOP_WORDS = frozenset(_STOP_WORD_LINES.split())
_SUFFIXES = (
    ("ations", ""),
    ("ation", ""),
    ("ments", ""),
    ("ment", ""),
    ("ings", ""),
    ("ing", ""),
    ("ied", "y"),
    ("ies", "y"),
    ("als", ""),
    ("al", ""),
    ("ed", ""),
    ("es", ""),
    ("ly", ""),
    ("s", ""),
    ("e", ""),
)
_SHORTEST_STEM = 3


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A lower-case word without its commonest English ending, so that "charged" and "charges" are one word."""
    for suffix, replacement in _SUFFIXES:
        kept = len(word) - len(suffix)
        if word.endswith(suffix) and kept >= _SHORTEST_STEM and not word.endswith("ss"):
            root = word[:kept] + replacement
            doubled = len(root) > _SHORTEST_STEM and root[-1] == root[-2] and root[-1] not in "els"
            return root[:-1] if doubled else root
    return word


@lru_cache(maxsize=16_384)
def words(text: str) -> tuple[str, ...]:
    """The telling words of a text, as stems and in order: no stop words, no single letters."""
    found = _WORD.findall(text.lower())
    return tuple(stem(word) for word in found if len(word) > 1 and word not in _STOP_WORDS)


def spelled_out(stems: Iterable[str], text: str, *, most: int) -> list[str]:
    """The words of `text`, as written there and in its order, whose stems are among `stems`."""
    wanted = set(stems)
    found = dict.fromkeys(word for word in _WORD.findall(text) if stem(word.lower()) in wanted)
    return list(found)[:most]
