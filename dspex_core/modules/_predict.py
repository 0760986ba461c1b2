import copy
from typing import Any, Self

from dspex_core.adapters import ChatAdapter
from dspex_core.errors import AdapterParseError, ProgramError
from dspex_core.modules._module import Module
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.seam import LMRequest, Message, PredictorState, current_rollout, current_runtime, record_step
from dspex_core.signature import Signature, signature_of

ROLLOUT_TEMPERATURE = 1.0


class Predict(Module):
    """One question to a model: a signature's inputs in, its outputs out.

    Args:
        signature: A Signature class, or a string such as "question -> answer".

    An answer that cannot be read is sent back once, with what is wrong with it; see `ChatAdapter.correction`.

    Raises:
        AdapterParseError: When called, if the second answer cannot be read either.
        LMError: When called, if the model cannot be reached.
    """

    def __init__(self, signature: type[Signature] | str) -> None:
        self.signature = signature_of(signature)
        self._state = PredictorState(instructions=self.signature.instructions)
        self._prefix: tuple[Message, ...] | None = None
        self._adapter = ChatAdapter()

    async def forward(self, **inputs: Any) -> Prediction:
        """Ask the model."""
        self._check(inputs)
        if self._prefix is None:
            self._prefix = self._adapter.prefix(self.signature, self._state.instructions, self._state.demos)
        messages = (*self._prefix, self._adapter.question(self.signature, inputs))
        answer = await self._generate(messages)
        try:
            outputs = self._adapter.parse(self.signature, answer)
        except AdapterParseError as error:
            correction = self._adapter.correction(self.signature, error)
            outputs = self._adapter.parse(self.signature, await self._generate((*messages, *correction)))
        record_step((self, dict(inputs), outputs))
        return Prediction(outputs)

    @property
    def state(self) -> PredictorState:
        """Instructions, demos and LM in force."""
        return self._state

    def set_state(self, state: PredictorState) -> None:
        """Replace instructions, demos and LM; `Module.with_state` does this on a copy."""
        self._state = state
        self._prefix = None

    def input_names(self) -> dict[str, bool]:
        """The signature's inputs, all of which must be given."""
        return dict.fromkeys(self.signature.input_fields, True)

    def output_names(self) -> set[str]:
        """The signature's outputs."""
        return set(self.signature.output_fields)

    def reference(self) -> ProgramReference:
        """The module and its signature, written out; for a subclass, where it is imported from."""
        if type(self) is not Predict:
            return super().reference()
        return DeclaredProgram(module="predict", signature=self.signature.to_spec())

    async def _generate(self, messages: tuple[Message, ...]) -> str:
        rollout = current_rollout()
        request = LMRequest(
            messages=messages,
            lm=self._state.lm,
            rollout_id=rollout or None,
            temperature=ROLLOUT_TEMPERATURE if rollout else None,
        )
        response = await current_runtime().generate(request)
        return response.text

    def _check(self, inputs: dict[str, Any]) -> None:
        for name in self.signature.input_fields:
            if name not in inputs:
                raise ProgramError(f"input {name!r} is missing; {self._wanted()}")
        for name in inputs:
            if name not in self.signature.input_fields:
                raise ProgramError(f"there is no input {name!r}; {self._wanted()}")

    def _wanted(self) -> str:
        return f"{self.signature.__name__} takes {', '.join(self.signature.input_fields)}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Signature and state never change in place, so a copy may share them.
        clone = copy.copy(self)
        memo[id(self)] = clone
        return clone


class ChainOfThought(Module):
    """Predict that reasons first: the answer has a `reasoning` before the signature's own outputs.

    Args:
        signature: A Signature class, or a string such as "question -> answer".

    Source: Wei et al. 2022, "Chain-of-Thought Prompting Elicits Reasoning in Large Language Models".
    """

    def __init__(self, signature: type[Signature] | str) -> None:
        self.signature = signature_of(signature)
        self.predict = Predict(self.signature.prepend_output("reasoning", str, desc="think step by step"))

    async def forward(self, **inputs: Any) -> Prediction:
        """Ask the model for its reasoning and then its answer."""
        return await self.predict(**inputs)

    def input_names(self) -> dict[str, bool]:
        """The signature's inputs, all of which must be given."""
        return self.predict.input_names()

    def output_names(self) -> set[str]:
        """The reasoning and the signature's outputs."""
        return self.predict.output_names()

    def reference(self) -> ProgramReference:
        """The module and its signature, written out; for a subclass, where it is imported from."""
        if type(self) is not ChainOfThought:
            return super().reference()
        return DeclaredProgram(module="chain_of_thought", signature=self.signature.to_spec())
