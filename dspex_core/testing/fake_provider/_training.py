"""Training files of chats: whether they can be learnt from, and what is learnt."""

import itertools
import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from dspex_core.testing.fake_provider._call import tokens

_FEWEST_EXAMPLES = 10

Memory = tuple[tuple[str, str], ...]
"""What a fine-tuned model has learnt: user messages and the answers to them."""


class TrainingMessage(BaseModel):
    """One message of an example."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None


class TrainingExample(BaseModel):
    """One line of a training file."""

    messages: list[TrainingMessage] = Field(min_length=1)


@dataclass(frozen=True)
class Training:
    """What a training file holds.

    Attributes:
        memory: Each user message that an answer follows, and that answer.
        examples: How many lines there are.
        tokens: What they cost.
    """

    memory: Memory
    examples: int
    tokens: int


def read_training(content: bytes) -> Training | str:
    """What a training file teaches, or why it cannot be learnt from."""
    memory: list[tuple[str, str]] = []
    count = cost = 0
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            document: Any = json.loads(line)
            example = TrainingExample.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            return (
                f"Invalid file format. Line {number}, {'.'.join(map(str, first['loc'])) or 'example'}: {first['msg']}"
            )
        except ValueError:
            return f"Invalid file format. Line {number} is not valid JSON."
        pairs = _pairs(example)
        if not pairs:
            return f"Invalid file format. Line {number} has no message from the assistant behind one from the user."
        memory.extend(pairs)
        count += 1
        cost += sum(tokens(message.content or "") for message in example.messages)
    if count < _FEWEST_EXAMPLES:
        return f"Training file has {count} example(s), but must have at least {_FEWEST_EXAMPLES} examples"
    return Training(tuple(memory), count, cost)


def _pairs(example: TrainingExample) -> list[tuple[str, str]]:
    messages = example.messages
    return [
        (asked.content or "", answered.content or "")
        for asked, answered in itertools.pairwise(messages)
        if (asked.role, answered.role) == ("user", "assistant")
    ]
