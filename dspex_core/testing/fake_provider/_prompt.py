import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from dspex_core.testing.fake_provider._forms import COMPLETED, SECTION, Form, asked_form, fields_in

_STRUCTURE = re.compile(rf"{SECTION.pattern}|^[ \t]*<\w+>|^[ \t]*\{{", re.MULTILINE)
_TASK_LINE = re.compile(r"\byour (?:task|objective) is:", re.IGNORECASE)
_FIELD = re.compile(r"^\s*\d+\.\s+`(\w+)`\s*\(")
_CHOICES = re.compile(r"\bone of: (.+)$", re.MULTILINE)
_ENUM = re.compile(r'"enum": (\[[^\]]*\])')
_STRING = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_NOT_SUPPLIED = ("Not supplied for this ", "(not given in this example)")
TEXT_TYPE = re.compile(r"str|Optional\[str\]|str \| None|\w+\[str, NoneType\]")
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
    """A request's messages, told apart: the task, the turns that are demos, the query's inputs, the form of answer."""

    task: Task
    demo_turns: tuple[tuple[str, str], ...]
    query: dict[str, str]
    last_text: str
    form: Form


def read_conversation(
    messages: Sequence[Message],
    asked_fields: tuple[Field, ...] = (),
    memory: tuple[tuple[str, str], ...] = (),
) -> Conversation:
    """Find the demos and the query.

    The query is the last user message that holds an input field; what follows it (an answer, a correction) is not
    evidence. User messages before it that hold one, and are answered by output fields, are demos.

    Args:
        messages: The roles and texts of the request.
        asked_fields: The outputs to give if the system message lists none; then the last message is the query.
        memory: User messages and their answers that the model was trained on: demos, before those of the prompt.
    """
    last_text = next((text for role, text in reversed(messages) if role == "user"), "")
    # Rows of one candidate share all but the last message: what comes before it is read once.
    fresh = messages[-1][0] == "user"
    system, task, asking = _read_before(tuple(messages[:-1] if fresh else messages))
    if not task.outputs and asked_fields:
        return Conversation(Task((), asked_fields, system), (), {"text": last_text}, last_text, "json")
    form = asked_form(last_text, (field.name for field in task.outputs))
    names = [field.name for field in task.inputs]
    if fresh and fields_in(messages[-1][1], names):
        asking = (*asking, len(messages) - 1)
    if not asking:
        return Conversation(task, (), {}, last_text, form)
    demo_turns = tuple((messages[i][1], messages[i + 1][1]) for i in asking[:-1] if messages[i + 1][0] == "assistant")
    return Conversation(task, memory + demo_turns, fields_in(messages[asking[-1]][1], names), last_text, form)


@lru_cache(maxsize=1024)
def _read_before(messages: tuple[Message, ...]) -> tuple[str, Task, tuple[int, ...]]:
    """The system text, its task, and which of the messages are a user's with an input field in them."""
    system = "\n\n".join(text for role, text in messages if role in ("system", "developer"))
    task = read_task(system)
    names = [field.name for field in task.inputs]
    asking = tuple(i for i, (role, text) in enumerate(messages) if role == "user" and fields_in(text, names))
    return system, task, asking


def read_demo(task: Task, turn: tuple[str, str]) -> Demo:
    """The fields of a demo, without those that it says are not supplied."""
    question, reply = turn
    outputs = fields_in(reply, [field.name for field in task.outputs])
    return Demo(
        inputs=fields_in(question, [field.name for field in task.inputs]),
        outputs={name: value for name, value in outputs.items() if not value.startswith(_NOT_SUPPLIED)},
    )


@lru_cache(maxsize=1024)
def read_task(system: str) -> Task:
    """Read the fields, their types and the instruction out of a system message."""
    structure_start = next((mark.start() for mark in _STRUCTURE.finditer(system)), len(system))
    listed: dict[str, list[Field]] = {"input": [], "output": []}
    kind = ""
    for line in system[:structure_start].splitlines():
        lowered = line.lower()
        if match := _FIELD.match(line):
            if kind:
                listed[kind].append(_field(match.group(1), line[match.end() - 1 :], system))
        elif "input fields" in lowered:
            kind = "input"
        elif "output fields" in lowered:
            kind = "output"
    before = [mark.end() for mark in SECTION.finditer(system) if mark.group(1) == COMPLETED] or [
        mark.end() for mark in _TASK_LINE.finditer(system)
    ]
    instruction = system[before[-1] :] if before else system[structure_start:]
    return Task(tuple(listed["input"]), tuple(listed["output"]), instruction.strip())


def _field(name: str, rest: str, system: str) -> Field:
    """`rest` is the line from the type's opening parenthesis on; a note in the structure may list the choices."""
    end = _closing(rest, 0)
    type_text, description = rest[1:end], rest[end + 1 :].lstrip(": ")
    labels = _literal_labels(type_text)
    if not labels:
        labels = _noted_labels(next(iter(fields_in(system, [name]).values()), "") or _key_line(name, system))
    return Field(name, type_text, description, labels)


def _noted_labels(note: str) -> tuple[str, ...]:
    if choices := _CHOICES.search(note):
        return tuple(label.strip().rstrip('",}') for label in choices.group(1).split(";"))
    if choices := _ENUM.search(note):
        return tuple(str(label) for label in json.loads(choices.group(1)))
    return ()


def _key_line(name: str, system: str) -> str:
    """The line that shows the field as a key of a JSON object."""
    line = next((line for line in system.splitlines() if line.strip().startswith(f'"{name}":')), "")
    return line.replace('\\"', '"')


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
