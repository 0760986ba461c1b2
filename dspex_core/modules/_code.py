"""What modules that have code written tell models about it, and how they find it in an answer."""

import re

SANDBOX_RULES = (
    "The code runs in a sandbox, without files, network or packages, and with a part of the standard library: math, "
    "re, json, datetime, itertools, collections and the like. What it prints, and the value of its last line, is what "
    "you get to see of it, or the error that it raised."
)

_FENCED = re.compile(
    r"```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.IGNORECASE | re.MULTILINE
)


def code_in(answer: str) -> str:
    """The code of an answer: what stands in its fenced blocks, or all of it if it has none."""
    blocks = _FENCED.findall(answer)
    return "\n\n".join(block.strip("\n") for block in blocks).rstrip() if blocks else answer.strip("\n").rstrip()
