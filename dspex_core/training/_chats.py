from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from dspex_core.errors import DatasetError
from dspex_core.modules import Module, Predict
from dspex_core.seam import Message, TextPart, TrainingStep


def chats(program: Module, steps: Sequence[TrainingStep]) -> bytes:
    """Examples to train on, as JSON lines: each the chat in which the program's predictor would ask, and the answer.

    Args:
        program: Its predictors' instructions, demos and adapters write the chats. A demo with the inputs of the step
            itself is left out, lest the model learn to copy.
        steps: The examples, in order.

    Raises:
        DatasetError: If a step is of no predictor, lacks an output, or its answer is empty.
        ConfigurationError: If an adapter does not write all of an answer as text.
    """
    predictors = program.named_predictors()
    lines: list[bytes] = []
    for number, step in enumerate(steps, start=1):
        predictor = predictors.get(step.predictor)
        if predictor is None:
            raise DatasetError(f"training example {number}: the program has no predictor {step.predictor!r}")
        lines.append(to_json({"messages": _chat(predictor, step.values, number)}))
    return b"\n".join(lines)


def _chat(predictor: Predict, values: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
    signature, state = predictor.signature, predictor.state
    missing = [name for name in signature.output_fields if values.get(name) is None]
    if missing:
        raise DatasetError(f"training example {number}: the output {missing[0]!r} of {signature.__name__} is missing")
    messages = predictor.adapter.lesson(signature, state.instructions, _others(predictor, values), values)
    if not messages[-1].text.strip():
        raise DatasetError(f"training example {number}: the answer of {signature.__name__} is empty")
    return [{"role": message.role, "content": _content(message)} for message in messages]


def _others(predictor: Predict, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    inputs = predictor.signature.input_fields
    return [demo for demo in predictor.state.demos if any(demo.get(name) != values.get(name) for name in inputs)]


def _content(message: Message) -> Any:
    if isinstance(message.content, str):
        return message.content
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": part.url}}
        for part in message.content
    ]
