import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from dspex_core.testing.fake_provider._evidence import DemoIndex, LabelHints
from dspex_core.testing.fake_provider._instruction import propose_instruction, shown_examples
from dspex_core.testing.fake_provider._prompt import (
    REASONING_NAMES,
    TEXT_TYPE,
    Conversation,
    Demo,
    Field,
    Task,
    read_demo,
)
from dspex_core.testing.fake_provider._words import spelled_out, words

_PROPOSED = ("instruction", "rules")
"""Parts of the names of fields that ask for instructions."""
_NEIGHBOURS = 5
_NAME_WEIGHT = 0.5
_GUIDANCE_WEIGHT = 0.5
_CLOSE_PER_TEMPERATURE = 0.05
_EMPTY_VALUES = (("int", "0"), ("float", "0.0"), ("bool", "False"), ("list", "[]"), ("tuple", "[]"), ("set", "[]"))
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True)
class Sampling:
    """What breaks a tie: equal requests get equal answers, in every process and every run.

    Attributes:
        salt: The request without its messages, as text; with the query it decides between equal candidates.
        temperature: How far apart two candidates may be and still count as equal.
    """

    salt: str = ""
    temperature: float = 0.0


@dataclass(frozen=True)
class Lesson:
    """What one prompt teaches, apart from its query: made once for all the rows that a candidate is tried on."""

    task: Task
    demos: tuple[Demo, ...]
    index: DemoIndex
    hints: dict[str, LabelHints]


@dataclass(frozen=True)
class _Question:
    inputs: dict[str, str]
    text: str
    similarities: list[float]
    sampling: Sampling


def answer_fields(conversation: Conversation, sampling: Sampling) -> dict[str, str]:
    """What the model holds the output fields to be, as texts; nothing if the prompt asks for none."""
    lesson = _lesson(conversation.task, conversation.demo_turns)
    text = " ".join(conversation.query.values())
    question = _Question(conversation.query, text, lesson.index.similarities(text), sampling)
    outputs = conversation.task.outputs
    values = {field.name: _value(field, lesson, question) for field in outputs if not _explains(field)}
    if any(_explains(field) for field in outputs):
        reason = _because(lesson, question, values)
        values |= {field.name: reason for field in outputs if _explains(field)}
    return {field.name: values[field.name] for field in outputs}


def remark(conversation: Conversation) -> str:
    """What the model says to a prompt without fields: a sentence of the last user message."""
    return _extract({"text": conversation.last_text})


def recalled(memory: tuple[tuple[str, str], ...], text: str) -> str | None:
    """The answer, of those learnt in training, to the message most like this one; None if none is like it."""
    if not memory:
        return None
    likenesses = _memory_index(memory).similarities(text)
    best = max(range(len(memory)), key=likenesses.__getitem__)
    return memory[best][1] if likenesses[best] > 0 else None


@lru_cache(maxsize=16)
def _memory_index(memory: tuple[tuple[str, str], ...]) -> DemoIndex:
    return DemoIndex([asked for asked, _ in memory])


@lru_cache(maxsize=512)
def _lesson(task: Task, demo_turns: tuple[tuple[str, str], ...]) -> Lesson:
    demos = tuple(read_demo(task, turn) for turn in demo_turns)
    return Lesson(
        task=task,
        demos=demos,
        index=DemoIndex([" ".join(demo.inputs.values()) for demo in demos]),
        hints=_hints(task),
    )


@lru_cache(maxsize=512)
def _hints(task: Task) -> dict[str, LabelHints]:
    return {
        field.name: LabelHints(field.labels, f"{task.instruction}\n{field.description}")
        for field in task.outputs
        if field.labels
    }


def _value(field: Field, lesson: Lesson, question: _Question) -> str:
    if field.labels:
        return _label(field, lesson, question)
    if any(word in field.name for word in _PROPOSED) and (examples := shown_examples(question.inputs)):
        return propose_instruction(examples, question.inputs, variation=_rank(question, field.name))
    votes = _votes(field.name, lesson, question)
    if votes and max(votes.values()) > 0:
        return _pick(votes, question)
    return next(iter(votes), None) or _unknown(field, question)


def _label(field: Field, lesson: Lesson, question: _Question) -> str:
    hints = lesson.hints[field.name]
    votes = _votes(field.name, lesson, question)
    named, nearby = hints.named(question.text), hints.nearby(question.text)
    scores = {
        label: votes.get(label, 0.0) + _NAME_WEIGHT * named[number] + _GUIDANCE_WEIGHT * nearby[number]
        for number, label in enumerate(field.labels)
    }
    return _pick(scores, question)


def _votes(name: str, lesson: Lesson, question: _Question) -> dict[str, float]:
    """How like the query the nearest demos of each value are; squared, lest many vague likenesses beat a close one."""
    nearest = sorted(
        (number for number, demo in enumerate(lesson.demos) if name in demo.outputs),
        key=lambda number: -question.similarities[number],
    )[:_NEIGHBOURS]
    votes: dict[str, float] = {}
    for number in nearest:
        value = lesson.demos[number].outputs[name]
        votes[value] = votes.get(value, 0.0) + question.similarities[number] ** 2
    return votes


def _pick(scores: dict[str, float], question: _Question) -> str:
    scores = {value: round(score, 9) for value, score in scores.items()}
    best = max(scores.values())
    enough = best * max(0.0, 1 - _CLOSE_PER_TEMPERATURE * question.sampling.temperature)
    close = [value for value, score in scores.items() if score >= enough]
    return close[0] if len(close) == 1 else min(close, key=lambda value: _rank(question, value))


def _rank(question: _Question, value: str) -> int:
    content = f"{question.sampling.salt}\n{question.text}\n{value}".encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def _explains(field: Field) -> bool:
    return field.name in REASONING_NAMES and not field.labels


def _because(lesson: Lesson, question: _Question, values: dict[str, str]) -> str:
    """One sentence that names the words of the query which decided."""
    deciding = _deciding_words(lesson, question, values)
    named = spelled_out(deciding, question.text, most=3) or spelled_out(words(question.text), question.text, most=3)
    if not named:
        return "The input has no word that decides."
    quoted = ", ".join(repr(word) for word in named)
    outcome = " and ".join(values[field.name] for field in lesson.task.outputs if field.labels)
    return f"The input says {quoted}, which points to {outcome}." if outcome else f"The input is about {quoted}."


def _deciding_words(lesson: Lesson, question: _Question, values: dict[str, str]) -> list[str]:
    weights: dict[str, float] = {}
    for field in lesson.task.outputs:
        value = values.get(field.name)
        sources = [
            lesson.index.shared(number, question.text)
            for number, demo in enumerate(lesson.demos)
            if value is not None and demo.outputs.get(field.name) == value and question.similarities[number] > 0
        ]
        if value in field.labels:
            sources.append(lesson.hints[field.name].shared(field.labels.index(value), question.text))
        for source in sources:
            for word, weight in source.items():
                weights[word] = weights.get(word, 0.0) + weight
    return sorted(weights, key=lambda word: (-weights[word], word))[:3]


def _unknown(field: Field, question: _Question) -> str:
    """The value of a field that nothing in the prompt teaches."""
    kind = field.type_text.strip()
    if not kind or TEXT_TYPE.fullmatch(kind):
        return _extract(question.inputs)
    if "None" in kind or kind.startswith("Optional"):
        return "null"
    return next((empty for start, empty in _EMPTY_VALUES if kind.startswith(start)), "{}")


def _extract(inputs: dict[str, str]) -> str:
    """The sentence, in any input but the last, that shares most words with the last one, which is the question."""
    *sources, asked = inputs.values() or [""]
    sentences = [
        sentence for source in (sources or [asked]) for sentence in _SENTENCE.split(source) if sentence.strip()
    ]
    if not sources:
        return sentences[0].strip() if sentences else "(no input)"
    wanted = set(words(asked))
    return max(sentences, key=lambda sentence: len(wanted.intersection(words(sentence))), default=asked).strip()
