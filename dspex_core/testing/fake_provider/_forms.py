"""The forms in which prompts hold fields and ask for them: marked lines, a JSON object, XML tags."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, cast

Form = Literal["marks", "json", "xml"]

COMPLETED = "completed"
SECTION = re.compile(r"^[ \t]*\[\[ ## (\w+) ## \]\][ \t]*", re.MULTILINE)
_TAGGED = re.compile(r"^[ \t]*<(\w+)>(.*?)</\1>", re.MULTILINE | re.DOTALL)
_WANTS_JSON = re.compile(r"\bJSON object\b", re.IGNORECASE)


def asked_form(message: str, outputs: Iterable[str]) -> Form:
    """The form of answer that a user's message asks for in its last paragraph; marks if it asks for none."""
    request = _last_paragraph(message)
    if "[[ ## " in request:
        return "marks"
    if _WANTS_JSON.search(request):
        return "json"
    return "xml" if any(f"<{name}>" in request for name in outputs) else "marks"


def fields_in(text: str, names: Iterable[str]) -> dict[str, str]:
    """The values of those fields, in whatever form they stand in the text; a JSON value that is no text stays JSON."""
    for values in (sections(text), _tagged(text), _in_object(text)):
        if found := {name: values[name] for name in names if name in values}:
            return found
    return {}


def written(form: Form, values: Mapping[str, Any]) -> str:
    """An answer with these values, as an adapter of that form reads it."""
    if form == "json":
        return json.dumps(values, ensure_ascii=False)
    if form == "xml":
        return "\n".join(f"<{name}>\n{as_text(value)}\n</{name}>" for name, value in values.items())
    blocks = [f"[[ ## {name} ## ]]\n{as_text(value)}" for name, value in values.items()]
    return "\n\n".join([*blocks, f"[[ ## {COMPLETED} ## ]]"])


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@lru_cache(maxsize=8192)
def sections(text: str) -> dict[str, str]:
    """The values between a message's `[[ ## name ## ]]` lines, without a closing reminder of the format."""
    marks = list(SECTION.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    found: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        found.setdefault(mark.group(1), _without_reminder(text[mark.end() : end].strip()))
    return found


@lru_cache(maxsize=8192)
def _tagged(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _TAGGED.finditer(text):
        found.setdefault(match.group(1), match.group(2).strip())
    return found


@lru_cache(maxsize=8192)
def _in_object(text: str) -> dict[str, str]:
    if not text.lstrip().startswith("{"):
        return {}
    try:
        loaded: Any = json.loads(text)
    except ValueError:
        return {}
    return {name: as_text(value) for name, value in cast("dict[str, Any]", loaded).items()}


def _without_reminder(value: str) -> str:
    *body, last = value.split("\n\n")
    reminds = "[[ ## " in last or (body and _WANTS_JSON.search(last))
    return "\n\n".join(body).strip() if reminds else value


def _last_paragraph(message: str) -> str:
    return message.rstrip().rpartition("\n\n")[2]
