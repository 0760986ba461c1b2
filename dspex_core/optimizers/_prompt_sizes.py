import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from dspex_core.adapters import Adapter
from dspex_core.errors import DSPExError
from dspex_core.modules import Module, Predict, calls_in_a_run
from dspex_core.record import Example
from dspex_core.seam import AdapterConfig, LMConfig, Message
from dspex_core.signature import Signature, type_adapter

CHARACTERS_A_TOKEN = 4
"""What most models' tokenizers come to in English text."""
ASSUMED_TEXT = "What a model will say here is not known before it is asked; it is taken to be of such a length. " * 2
"""Stands for a text that nobody knows yet, such as reasoning or a search query: about 50 tokens."""
ROWS_LOOKED_AT = 8
"""Rows of an evaluation whose prompts are written to know their size."""


@dataclass(frozen=True)
class CallSize:
    """The calls that a predictor makes in one run of its program, and how large one is on average.

    Attributes:
        lm: The predictor's own model; None for the one in force.
        fewest: Calls a run makes at least.
        most: Calls a run makes at most.
        prompt_tokens: Tokens sent in one.
        completion_tokens: Tokens received in one.
    """

    lm: LMConfig | None
    fewest: int
    most: int
    prompt_tokens: float
    completion_tokens: float


class PromptSizes:
    """Writes prompts as predictors would, and measures them. What was measured once is remembered."""

    def __init__(self) -> None:
        self._prefixes: dict[tuple[str, AdapterConfig, str], float] = {}
        self._questions: dict[tuple[str, AdapterConfig, int, int], float] = {}
        self._kept: list[Sequence[Example]] = []  # their identity is part of a key

    def of(self, program: Module, rows: Sequence[Example], indices: Sequence[int]) -> list[CallSize]:
        """The calls of one run of a program on one of these rows."""
        step = max(1, len(indices) // ROWS_LOOKED_AT)
        sample = list(indices[::step])[:ROWS_LOOKED_AT]
        calls = calls_in_a_run(program)
        found: list[CallSize] = []
        for name, predictor in program.named_predictors().items():
            sent = self._prefix(name, predictor) + _mean(
                self._question(name, predictor, rows, index) for index in sample
            )
            received = _mean(_answered(predictor.adapter, predictor.signature, rows[index]) for index in sample)
            fewest, most = calls[name]
            found.append(CallSize(predictor.state.lm, fewest, most, sent, received))
            config = predictor.adapter.config
            if config.name == "two_step":
                # A second model reads the answer of the first.
                lm = config.extraction_lm or predictor.state.lm
                found.append(CallSize(lm, fewest, most, self._prefix(name, predictor) + received, received))
        return found

    def of_question(self, program: Module, inputs: Mapping[str, Any]) -> list[CallSize]:
        """The calls of one run of a program on inputs that are all there."""
        rows = [Example(dict(inputs))]
        self._kept.append(rows)
        return self.of(program, rows, [0])

    def _prefix(self, name: str, predictor: Predict) -> float:
        state, adapter = predictor.state, predictor.adapter
        key = (name, adapter.config, state.model_dump_json(include={"instructions", "demos"}))
        if key not in self._prefixes:
            self._prefixes[key] = tokens_in(adapter.prefix(predictor.signature, state.instructions, state.demos))
        return self._prefixes[key]

    def _question(self, name: str, predictor: Predict, rows: Sequence[Example], index: int) -> float:
        adapter = predictor.adapter
        key = (name, adapter.config, id(rows), index)
        if key not in self._questions:
            self._questions[key] = _asked(adapter, predictor.signature, rows[index])
        return self._questions[key]


def tokens_in(messages: Sequence[Message]) -> float:
    """About how many tokens messages have."""
    return sum(len(message.text) for message in messages) / CHARACTERS_A_TOKEN


def value_of(signature: type[Signature], name: str, row: Example) -> Any:
    """A row's value of a field, in JSON's terms; one that no row has, such as reasoning, is made up."""
    if name in row:
        return to_jsonable_python(row[name], fallback=str)
    return made_up(signature, name)


@lru_cache(maxsize=1_000)
def made_up(signature: type[Signature], name: str) -> Any:
    """A value that fits a field's type, in JSON's terms; text if nothing simple does."""
    fits = type_adapter(signature, name)
    choices = fits.json_schema().get("enum", [])
    simple: tuple[Any, ...] = (*choices, ASSUMED_TEXT, [ASSUMED_TEXT], 1, 0.5, True, [], {})
    for value in simple:
        try:
            fits.validate_python(value)
        except ValidationError:
            continue
        return value
    return ASSUMED_TEXT


def _answered(adapter: Adapter, signature: type[Signature], row: Example) -> float:
    """About how many tokens the answer to a row has: its labels where they are known."""
    values = {name: value_of(signature, name, row) for name in signature.output_fields}
    try:
        return tokens_in([Message(role="assistant", content=adapter.answer(list(values), values))])
    except (DSPExError, ValueError, TypeError):
        return _characters(values) / CHARACTERS_A_TOKEN


def _asked(adapter: Adapter, signature: type[Signature], row: Example) -> float:
    inputs = {name: row[name] if name in row else made_up(signature, name) for name in signature.input_fields}
    try:
        return tokens_in(adapter.question(signature, inputs))
    except (DSPExError, ValueError, TypeError):
        # A made-up input need not be one that the format can show; its text says how long it may be.
        return _characters(inputs) / CHARACTERS_A_TOKEN


def _characters(values: Mapping[str, Any]) -> int:
    return sum(len(name) + len(str(value)) for name, value in values.items())


def _mean(values: Any) -> float:
    found = list(values)
    return math.fsum(found) / len(found) if found else 0.0
