import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import cast

from dspex_core.testing.fake_provider._judged import Record, lessons_of
from dspex_core.testing.fake_provider._prompt import REASONING_NAMES
from dspex_core.testing.fake_provider._words import spelled_out, words

_PAIR = re.compile(r"^[\s>*-]*(?:\d+[.)]\s*)?\[?[`\"']?(\w[\w ]{0,40}?)[`\"']?\]?\s*[:=]\s+(\S.*)$")
_ARROW = re.compile(r"^[\s>*-]*(?:\d+[.)]\s*)?(\S.*?)\s*(?:->|=>|→)\s*(\S.*)$")
_MARKED = re.compile(r"^\s*\[\[ ## (\w+) ## \]\]\s*$")
_LONGEST_LABEL = 60
_FEWEST_WORDS = 3
_DEFAULT_TASK = "Read the input and choose the label that fits it."


def shown_examples(inputs: Mapping[str, str]) -> list[Record]:
    """The examples shown in a prompt's inputs: JSON objects, `key: value` lines or `input -> label` lines.

    Returns:
        The records of the input that shows most; empty unless there are two.
    """
    shown = [_records(text) for text in inputs.values()]
    most = max(shown, key=len) if shown else []
    return most if len(most) > 1 else []


def propose_instruction(examples: list[Record], inputs: Mapping[str, str], *, variation: int) -> str:
    """Write an instruction from the words that tell the labels of the examples apart.

    Args:
        examples: What `shown_examples` found. Of runs with feedback on them, what the feedback teaches counts.
        inputs: The prompt's inputs; one whose name holds "instruction" is the task to begin with.
        variation: Any number; it decides how many words each label gets.

    Returns:
        The task, then a line for each label seen: `label: word, word, …`.
    """
    task = next((text for name, text in inputs.items() if "instruction" in name and text), _DEFAULT_TASK)
    examples = lessons_of(examples)
    if not examples:
        return task
    label_key = _label_key(examples)
    texts: dict[str, str] = {}
    for record in examples:
        if label := record.get(label_key):
            told = " ".join(value for key, value in record.items() if key not in {label_key, *REASONING_NAMES})
            texts[label] = f"{texts.get(label, '')} {told}"
    most = _FEWEST_WORDS + variation % 6
    lines = [f"{label}: {', '.join(telling)}" for label, telling in _telling_words(texts, most).items() if telling]
    return "\n".join([task.split("\n\n")[0].strip(), *lines])


def _telling_words(texts: Mapping[str, str], most: int) -> dict[str, list[str]]:
    counts = {label: Counter(words(text)) for label, text in texts.items()}
    holders = Counter(word for count in counts.values() for word in count)
    found: dict[str, list[str]] = {}
    for label, count in sorted(counts.items()):
        weights = {word: times * math.log((len(counts) + 1) / holders[word]) for word, times in count.items()}
        best = sorted(weights, key=lambda word: (-weights[word], word))[:most]
        found[label] = list(dict.fromkeys(word.lower() for word in spelled_out(best, texts[label], most=2 * most)))
    return found


def _label_key(examples: list[Record]) -> str:
    """The short field with the fewest different values; the later of two such."""
    keys = list(dict.fromkeys(key for record in examples for key in record))

    def spread(key: str) -> tuple[bool, int, int]:
        values = [record[key] for record in examples if key in record]
        return max(map(len, values)) > _LONGEST_LABEL, len(set(values)), -keys.index(key)

    return min(keys, key=spread)


def _records(text: str) -> list[Record]:
    return [record for record in (_json_records(text) or _line_records(text)) if len(record) > 1]


def _json_records(text: str) -> list[Record]:
    for document in (text, f"[{','.join(line for line in text.splitlines() if line.strip())}]"):
        try:
            loaded: object = json.loads(document)
        except ValueError:
            continue
        if isinstance(loaded, list):
            return [_flat(cast("object", item)) for item in cast("list[object]", loaded) if isinstance(item, dict)]
    return []


def _flat(item: object) -> Record:
    record: Record = {}
    for key, value in cast("dict[str, object]", item).items():
        if isinstance(value, dict):
            record |= _flat(cast("object", value))
        else:
            record[key] = str(value)
    return record


def _line_records(text: str) -> list[Record]:
    """Lines of `key: value`; a key met again, or a blank line, begins another record."""
    records: list[Record] = [{}]
    for key, value in _pairs(text):
        if not key or key in records[-1]:
            records.append({})
        if key:
            records[-1][key] = value
    return records


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """The keys and values of the lines in order; a blank line is an empty key."""
    marked = ""
    for line in text.splitlines():
        if mark := _MARKED.match(line):
            marked = mark.group(1)
        elif marked and line.strip():
            yield marked, line.strip()
            marked = ""
        elif match := _PAIR.match(line):
            yield match.group(1).strip().lower(), match.group(2).strip()
        elif match := _ARROW.match(line):
            yield "", ""
            yield "input", match.group(1)
            yield "label", match.group(2)
        elif not line.strip():
            yield "", ""
