import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_SECTION = re.compile(r"^[ \t]*\[\[ ## (\w+) ## \]\][ \t]*", re.MULTILINE)
_FIELD = re.compile(r"^\s*\d+\.\s+`(\w+)`\s*\(")
_CHOICES = re.compile(r"\bone of: (.+)$", re.MULTILINE)
_STRING = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_NOT_SUPPLIED = "Not supplied for this "
COMPLETED = "completed"
REASONING_NAMES = frozenset(
    {"reasoning", "rationale", "thought", "thoughts", "explanation", "justification", "analysis"}
)

Message = tuple[str, str]
"""A role and a text."""


@dataclass(frozen=True)
class Field:
    """One field as the system message describes it; `labels` are the values it may take, if they are listed."""

    name: str
    type_text: str
    description: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """What the system message asks for."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    instruction: str


@dataclass(frozen=True)
class Demo:
    """A worked example: one user message and the answer to it."""

    inputs: dict[str, str]
    outputs: dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """A request's messages, told apart: the system text, the turns that are demos, and the query's inputs."""

    system: str
    demo_turns: tuple[tuple[str, str], ...]
    query: dict[str, str]
    last_text: str


def read_conversation(messages: Sequence[Message]) -> Conversation:
    """Find the demos and the query.

    The query is the last user message that holds an input field; what follows it (an answer, a correction) is not
    evidence. User messages before it that hold one, and are answered by output fields, are demos.
    """
    system = "\n\n".join(text for role, text in messages if role in ("system", "developer"))
    input_names = {field.name for field in read_task(system).inputs}
    asking = [
        i for i, (role, text) in enumerate(messages) if role == "user" and not input_names.isdisjoint(sections(text))
    ]
    last_text = next((text for role, text in reversed(messages) if role == "user"), "")
    if not asking:
        return Conversation(system, (), {}, last_text)
    demo_turns = tuple((messages[i][1], messages[i + 1][1]) for i in asking[:-1] if messages[i + 1][0] == "assistant")
    query = _chosen(sections(messages[asking[-1]][1]), input_names)
    return Conversation(system, demo_turns, query, last_text)


def read_demo(task: Task, turn: tuple[str, str]) -> Demo:
    """The fields of a demo, without those that it says are not supplied."""
    question, reply = turn
    outputs = _chosen(sections(reply), {field.name for field in task.outputs})
    return Demo(
        inputs=_chosen(sections(question), {field.name for field in task.inputs}),
        outputs={name: value for name, value in outputs.items() if not value.startswith(_NOT_SUPPLIED)},
    )


@lru_cache(maxsize=8192)
def sections(text: str) -> dict[str, str]:
    """The values between a message's `[[ ## name ## ]]` lines, without a closing reminder of the format."""
    marks = list(_SECTION.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    found: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        found.setdefault(mark.group(1), _without_reminder(text[mark.end() : end].strip()))
    return found


@lru_cache(maxsize=1024)
def read_task(system: str) -> Task:
    """Read the fields, their types and the instruction out of a system message."""
    structure_start = next((mark.start() for mark in _SECTION.finditer(system)), len(system))
    notes = sections(system)
    listed: dict[str, list[Field]] = {"input": [], "output": []}
    kind = ""
    for line in system[:structure_start].splitlines():
        lowered = line.lower()
        if match := _FIELD.match(line):
            if kind:
                listed[kind].append(_field(match.group(1), line[match.end() - 1 :], notes))
        elif "input fields" in lowered:
            kind = "input"
        elif "output fields" in lowered:
            kind = "output"
    completed = [mark.end() for mark in _SECTION.finditer(system) if mark.group(1) == COMPLETED]
    instruction = system[completed[-1] :] if completed else system[structure_start:]
    return Task(tuple(listed["input"]), tuple(listed["output"]), instruction.strip())


def _field(name: str, rest: str, notes: dict[str, str]) -> Field:
    """`rest` is the line from the type's opening parenthesis on."""
    end = _closing(rest, 0)
    type_text, description = rest[1:end], rest[end + 1 :].lstrip(": ")
    labels = _literal_labels(type_text)
    if not labels and (choices := _CHOICES.search(notes.get(name, ""))):
        labels = tuple(label.strip() for label in choices.group(1).split(";"))
    return Field(name, type_text, description, labels)


def _literal_labels(type_text: str) -> tuple[str, ...]:
    start = type_text.find("Literal[")
    if start < 0:
        return ()
    bracket = start + len("Literal")
    listing = type_text[bracket : _closing(type_text, bracket) + 1]
    try:
        return tuple(str(label) for label in ast.literal_eval(listing))
    except (SyntaxError, ValueError):
        return tuple(single or double for single, double in _STRING.findall(listing))


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes; brackets inside quoted strings do not count."""
    depth, position = 0, start
    while position < len(text):
        if text[position] in "'\"" and (quoted := _STRING.match(text, position)):
            position = quoted.end()
            continue
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if depth == 0:
            return position
        position += 1
    return len(text)


def _without_reminder(value: str) -> str:
    *body, last = value.split("\n\n")
    return "\n\n".join(body).strip() if "[[ ## " in last else value


def _chosen(values: dict[str, str], names: set[str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name in names}
