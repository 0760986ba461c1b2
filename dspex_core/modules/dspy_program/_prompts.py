from collections.abc import Mapping, Sequence
from typing import Any

from dspex_core.adapters import Adapter, ChatAdapter
from dspex_core.errors import ProgramError
from dspex_core.modules._predict import Predict
from dspex_core.modules.dspy_program._calls import message_of
from dspex_core.modules.dspy_program._library import library
from dspex_core.modules.dspy_program._signature import signature_from_dspy
from dspex_core.seam import Message
from dspex_core.signature import Signature


class DSPyPredictor(Predict):
    """Stands for a predictor of DSPy's, which alone is run; what it says of its prompts is what DSPy writes.

    Args:
        name: The predictor's name, for errors.
        signature: Its `dspy.Signature`.
    """

    def __init__(self, name: str, signature: Any) -> None:
        super().__init__(signature_from_dspy(name, signature))
        self._prompts = DSPyPrompts(signature)

    @property
    def adapter(self) -> Adapter:
        """What writes its prompts."""
        return self._prompts


class DSPyPrompts(ChatAdapter):
    """Writes what DSPy's adapter in force writes for one of its signatures, to be measured or to train on.

    Args:
        signature: The `dspy.Signature`.
    """

    def __init__(self, signature: Any) -> None:
        super().__init__()
        self._theirs = signature

    def prefix(
        self, signature: type[Signature], instructions: str, demos: Sequence[Mapping[str, Any]]
    ) -> tuple[Message, ...]:
        """System message and demos."""
        return self._written(instructions, demos, {})[:-1]

    def question(self, signature: type[Signature], inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """The message that asks about these inputs."""
        return self._written(self._theirs.instructions, (), inputs)[-1:]

    def answer(self, names: Sequence[str], values: Mapping[str, Any]) -> str:
        """Outputs as the model is to write them."""
        given = {name: values[name] for name in names}
        return _adapter().format_assistant_message_content(self._theirs, given)

    def lesson(
        self,
        signature: type[Signature],
        instructions: str,
        demos: Sequence[Mapping[str, Any]],
        values: Mapping[str, Any],
    ) -> tuple[Message, ...]:
        """A whole exchange to train a model on."""
        inputs = {name: values[name] for name in signature.input_fields if name in values}
        answer = Message(role="assistant", content=self.answer(list(signature.output_fields), values))
        return (*self._written(instructions, demos, inputs), answer)

    def _written(
        self, instructions: str, demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
    ) -> tuple[Message, ...]:
        asked = self._theirs.with_instructions(instructions)
        try:
            messages = _adapter().format(asked, [dict(demo) for demo in demos], dict(inputs))
        except Exception as error:
            raise ProgramError(f"DSPy cannot write the prompt of {self._theirs.__name__}: {error}") from error
        return tuple(message_of(message) for message in messages)


def _adapter() -> Any:
    dspy = library()
    return dspy.settings.adapter or dspy.ChatAdapter()
