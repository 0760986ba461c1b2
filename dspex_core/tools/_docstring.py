import inspect
import re

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?|Attributes):\s*$")
_ARGUMENT_SECTIONS = {"Args", "Arguments", "Parameters"}
_ARGUMENT = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """What a function does, and what each argument is.

    Args:
        text: A docstring in Google's style, or plain words.

    Returns:
        The text before the first section, and the descriptions in the section of arguments by name.
    """
    lines = inspect.cleandoc(text or "").splitlines()
    starts = [number for number, line in enumerate(lines) if _SECTION.match(line)]
    description = "\n".join(lines[: starts[0]] if starts else lines).strip()
    arguments: dict[str, str] = {}
    for start, end in zip(starts, [*starts, len(lines)][1:], strict=True):
        if lines[start].partition(":")[0] in _ARGUMENT_SECTIONS:
            arguments |= _arguments(lines[start + 1 : end])
    return description, arguments


def _arguments(lines: list[str]) -> dict[str, str]:
    """Descriptions by name; a line that is indented further goes on with the one before."""
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    outer = min(indents, default=0)
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        text = line.strip()
        opening = _ARGUMENT.match(text) if len(line) - len(line.lstrip()) == outer else None
        if opening:
            current = found[opening[1]] = [opening[2]]
        elif text:
            current.append(text)
    return {name: " ".join(words).strip() for name, words in found.items()}
