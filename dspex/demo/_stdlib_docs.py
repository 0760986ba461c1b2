"""The demo's real data: what the standard library says of its own functions and classes.

The task is to name the area a description comes from. The data is in every Python installation, is real prose by many
hands, and cannot be looked up by name, since each description's own names are masked.
"""

import builtins
import inspect
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from dspex.demo._docstrings import Documented, documented_in_builtin, documented_in_sources
from dspex.demo._masking import mask_names

Row = dict[str, str]

# After the chapters of the library reference; modules that a Python lacks are skipped.
_SOURCES: dict[str, str] = {
    "concurrency": "_threading_local asyncio concurrent multiprocessing queue sched selectors signal subprocess"
    " threading",
    "data_formats": "base64 configparser csv email html json mimetypes netrc pickle pickletools plistlib quopri"
    " tomllib xml",
    "dates": "_pydatetime _strptime calendar datetime zoneinfo",
    "files": "_pyio bz2 dbm filecmp fileinput fnmatch genericpath glob gzip linecache lzma mailbox ntpath os pathlib"
    " posixpath shelve shutil stat tarfile tempfile zipfile",
    "networking": "cgi ftplib http imaplib ipaddress nntplib poplib smtplib socket socketserver ssl telnetlib urllib"
    " webbrowser wsgiref xmlrpc",
    "numbers": "_pydecimal _pylong colorsys fractions numbers operator random statistics",
    "testing": "bdb cProfile doctest pdb profile pstats pydoc timeit trace traceback tracemalloc unittest warnings",
    "text": "argparse cmd codecs curses difflib getopt gettext locale optparse pprint re reprlib rlcompleter shlex"
    " string stringprep textwrap tokenize",
}
_BUILTINS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "dates": (("time", None),),
    "numbers": (("math", None), ("cmath", None), ("builtins", "int"), ("builtins", "float")),
    "text": (("unicodedata", None), ("builtins", "str")),
}

AREAS = tuple(sorted(_SOURCES))

_SHORTEST, _LONGEST = 40, 400
_SENTENCE_END = re.compile(r"[.!?](?=\s)")
_SIGNATURE_LINE = re.compile(r"^[\w.]+\(.*\)(\s*->.*)?$")
_NOT_PROSE = re.compile(r"^(>>>|\.\. |[-=~^]{3,}|:\w+|[\w-]+ = )")


@dataclass(frozen=True)
class DemoData:
    """Rows with a "description" and its "area"; no row is in two parts."""

    train: list[Row]
    dev: list[Row]
    test: list[Row]


def stdlib_descriptions(*, train: int = 300, dev: int = 200, test: int = 300, seed: int = 0) -> DemoData:
    """Sample rows whose areas are as balanced as the library allows, alike in each part.

    Args:
        train: Rows to train on.
        dev: Rows to choose by.
        test: Rows to report on.
        seed: The same seed and the same Python version give the same rows in the same order.

    Returns:
        Parts of the sizes asked for, or in the same proportions if the library has fewer rows.

    Raises:
        ConfigurationError: This Python came without its library's sources.
    """
    chance = random.Random(seed)  # noqa: S311 - a reproducible sample, nothing secret
    by_area = all_descriptions()
    wanted = train + dev + test
    chosen: list[tuple[float, Row]] = []
    for area, count in _quotas({area: len(texts) for area, texts in by_area.items()}, wanted).items():
        texts = chance.sample(by_area[area], count)
        # The place in its own area, from 0 to 1: cutting the rows in that order gives each part its share of all areas.
        chosen += [((place + 0.5) / count, {"description": text, "area": area}) for place, text in enumerate(texts)]
    rows = [row for _, row in sorted(chosen, key=lambda placed: placed[0])]
    ends = [round(len(rows) * end / max(wanted, 1)) for end in (train, train + dev, wanted)]
    parts = [rows[: ends[0]], rows[ends[0] : ends[1]], rows[ends[1] : ends[2]]]
    for part in parts:
        chance.shuffle(part)
    return DemoData(*parts)


@cache
def all_descriptions() -> dict[str, list[str]]:
    """Collect every description, sorted, by area; none is in two areas."""
    ubiquitous = _docstrings_everybody_inherits()
    areas: dict[str, set[str]] = {}
    for area in AREAS:
        for documented in _documented(area):
            if documented.docstring not in ubiquitous:
                description = describe(documented)
                if description is not None:
                    areas.setdefault(description, set()).add(area)
    return {area: sorted(text for text, found in areas.items() if found == {area}) for area in AREAS}


def describe(documented: Documented) -> str | None:
    """Turn a docstring into one line of masked prose of 40 to 400 characters; None if it has too little of it."""
    prose = ""
    for paragraph in documented.docstring.split("\n\n"):
        lines = [line.strip() for line in paragraph.splitlines()]
        if _SIGNATURE_LINE.match(lines[0]):
            lines = lines[1:]
        if not lines or any(_NOT_PROSE.match(line) for line in lines):
            if prose:
                break
            continue
        prose = mask_names(" ".join(f"{prose} {' '.join(lines)}".split()), documented.names)
        if len(prose) >= _SHORTEST:
            break
    if len(prose) > _LONGEST:
        prose = _shorten(prose)
    return prose if len(prose) >= _SHORTEST else None


def _documented(area: str) -> Iterator[Documented]:
    for module in _SOURCES[area].split():
        yield from documented_in_sources(module)
    for module, kind in _BUILTINS.get(area, ()):
        yield from documented_in_builtin(module, kind)


def _docstrings_everybody_inherits() -> frozenset[str]:
    owners = (object, type, BaseException, *(value for value in vars(builtins).values() if isinstance(value, type)))
    documented = [member for owner in owners for name, member in vars(owner).items() if name.startswith("__")]
    docstrings = [getattr(member, "__doc__", None) for member in documented]
    return frozenset(inspect.cleandoc(text) for text in docstrings if isinstance(text, str))


def _shorten(prose: str) -> str:
    ends = [match.end() for match in _SENTENCE_END.finditer(prose, _SHORTEST, _LONGEST)]
    return prose[: ends[-1]] if ends else prose[: _LONGEST - 1].rsplit(" ", 1)[0] + "…"


def _quotas(available: dict[str, int], wanted: int) -> dict[str, int]:
    """Share `wanted` rows out evenly; what a small area cannot give, the larger ones do."""
    quotas: dict[str, int] = {}
    left = wanted
    smallest_first = sorted(available, key=lambda area: (available[area], area))
    for position, area in enumerate(smallest_first):
        quotas[area] = min(available[area], left // (len(smallest_first) - position))
        left -= quotas[area]
    return {area: quotas[area] for area in sorted(quotas)}
