"""Which models reason before they answer, at what cost, and what they refuse."""

import re
from typing import Literal

from dspex_core.testing.fake_provider._exchange import Refusal

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]

_REASONING_MODEL = re.compile(r"(?:ft:)?(?:o\d|gpt-5(?!.*-chat))")
_TOKENS_PER_TOKEN: dict[Effort, int] = {"none": 0, "minimal": 0, "low": 1, "medium": 2, "high": 4, "xhigh": 8}


def reasons(model: str) -> bool:
    """Whether a model of this name reasons: OpenAI's o-series and GPT-5, but not its chat models."""
    return _REASONING_MODEL.match(model) is not None


def effort_of(model: str, asked: Effort | None) -> int:
    """Tokens of hidden reasoning for each token of the answer."""
    return _TOKENS_PER_TOKEN[asked or "medium"] if reasons(model) else 0


def refused_for_reasoning(
    model: str, temperature: float | None, effort: Effort | None, *, param: str = "reasoning_effort"
) -> Refusal | None:
    """What OpenAI refuses of models that reason, and of those that do not."""
    if reasons(model):
        if temperature not in (None, 1):
            text = (
                f"Unsupported value: 'temperature' does not support {temperature:g} with this model. "
                "Only the default (1) value is supported."
            )
            return Refusal(400, text, code="unsupported_value", param="temperature")
    elif effort is not None:
        text = f"Unsupported parameter: '{param}' is not supported with this model."
        return Refusal(400, text, code="unsupported_parameter", param=param)
    return None
