import copy
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

from dspex_core.adapters import Adapter, Exchange, adapter_of
from dspex_core.errors import AdapterParseError, LMContextLengthError, LMRequestError, ProgramError
from dspex_core.events import AdapterFellBack
from dspex_core.modules._module import Module
from dspex_core.modules._streaming import current_stream
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Example, Prediction
from dspex_core.seam import (
    ConfiguredLM,
    LMConfig,
    LMRequest,
    LMResponse,
    Message,
    PredictorState,
    configuration_of,
    current_adapter,
    current_rollout,
    current_rollout_temperature,
    current_runtime,
    plain,
    record_step,
)
from dspex_core.signature import OutputField, Signature, signature_of


def check_inputs(signature: type[Signature], inputs: Mapping[str, Any]) -> None:
    """Refuse inputs that are not those of a signature.

    Raises:
        ProgramError: If one is missing or unknown; names it, and the one that may be meant.
    """
    missing = [name for name in signature.input_fields if name not in inputs]
    wanted = f"{signature.__name__} takes {', '.join(signature.input_fields)}"
    for name in inputs:
        if name not in signature.input_fields:
            near = difflib.get_close_matches(name, missing, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ProgramError(f"there is no input {name!r}; {hint}{wanted}")
    if missing:
        raise ProgramError(f"input {missing[0]!r} is missing; {wanted}")


class Predict(Module):
    """One question to a model: a signature's inputs in, its outputs out.

        triage = Predict("text -> team: Literal['billing', 'bug']")
        prediction = await triage(text="I was charged twice")
        print(prediction.team, prediction.usage.cost_usd)

    Args:
        signature: A Signature class, or a string such as "question -> answer".

    An answer that cannot be read is sent back once, with what is wrong with it; then the adapter's fallbacks ask, in
    their order, each told in an event. The adapter is the predictor's own (`set_adapter`), or the one in force.

    Raises:
        AdapterParseError: When called, if the second answer cannot be read either.
        LMError: When called, if the model cannot be reached.
    """

    def __init__(self, signature: type[Signature] | str) -> None:
        self._signature = signature_of(signature)
        self._state = PredictorState(instructions=self.signature.instructions)
        self._prefix: tuple[Adapter, tuple[Message, ...]] | None = None
        self._refused: dict[Adapter, Adapter] = {}

    async def forward(self, **inputs: Any) -> Prediction:
        """Ask the model."""
        check_inputs(self.signature, inputs)
        asked = _Asked(self)
        adapter = self.adapter
        try:
            outputs = await self._ask(adapter, inputs, asked)
        except AdapterParseError as error:
            outputs = await self._fall_back(adapter, inputs, asked, error)
        record_step((self, dict(inputs), outputs))
        return Prediction(outputs)

    @property
    def adapter(self) -> Adapter:
        """The adapter that a call made now asks with: its own, or the one in force."""
        adapter = adapter_of(self._state.adapter or current_adapter())
        return self._refused.get(adapter, adapter)

    @property
    def signature(self) -> type[Signature]:
        """What is asked; one that is set brings its instructions with it, and demos stay."""
        return self._signature

    @signature.setter
    def signature(self, signature: type[Signature] | str) -> None:
        self._signature = signature_of(signature)
        self.set_state(self._state.model_copy(update={"instructions": self._signature.instructions}))

    @property
    def demos(self) -> tuple[Example, ...]:
        """The worked examples that the prompt shows, which may be set.

            triage.demos = [Example(text="I was charged twice", team="billing")]

        Raises:
            ProgramError: When set, if a demo is neither an example nor a mapping, or has none of the outputs.
        """
        return tuple(Example(demo) for demo in self._state.demos)

    @demos.setter
    def demos(self, demos: Sequence[Example | Mapping[str, Any]]) -> None:
        checked = tuple(self._checked_demo(number, demo) for number, demo in enumerate(demos, start=1))
        self.set_state(self._state.model_copy(update={"demos": checked}))

    @property
    def lm(self) -> LMConfig | None:
        """A model of this predictor's own, which may be set; None for the one in force."""
        return self._state.lm

    @lm.setter
    def lm(self, lm: ConfiguredLM | LMConfig | None) -> None:
        self.set_state(self._state.model_copy(update={"lm": None if lm is None else configuration_of(lm)}))

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

    def _prefix_for(self, adapter: Adapter) -> tuple[Message, ...]:
        if self._prefix is None or self._prefix[0] is not adapter:
            made = adapter.prefix(self.signature, self._state.instructions, self._state.demos)
            self._prefix = (adapter, made)
        return self._prefix[1]

    async def _ask(self, adapter: Adapter, inputs: dict[str, Any], asked: "_Asked") -> dict[str, Any]:
        """Ask; if the provider refuses its own function calling, with the tools in the prompt's text."""
        try:
            return await adapter.ask(self.signature, self._prefix_for(adapter), inputs, asked)
        except LMRequestError as error:
            if adapter.layout(self.signature).tools is None or isinstance(error, LMContextLengthError):
                raise
            plain = adapter_of(adapter.config.model_copy(update={"native_tools": False}))
            self._tell(adapter, plain, str(error))
        outputs = await plain.ask(self.signature, self._prefix_for(plain), inputs, asked)
        # Only now is it sure that it was the tools that were refused.
        self._refused[adapter] = plain
        return outputs

    def _tell(self, adapter: Adapter, fallback: Adapter, reason: str) -> None:
        current_runtime().emit(
            AdapterFellBack(
                signature=self.signature.__name__, adapter=repr(adapter), fallback=repr(fallback), reason=reason
            )
        )

    async def _fall_back(
        self, adapter: Adapter, inputs: dict[str, Any], asked: "_Asked", error: AdapterParseError
    ) -> dict[str, Any]:
        for config in adapter.config.fallback:
            fallback = adapter_of(config)
            self._tell(adapter, fallback, error.reason)
            adapter = fallback
            prefix = adapter.prefix(self.signature, self._state.instructions, self._state.demos)
            try:
                return await adapter.ask(self.signature, prefix, inputs, asked)
            except AdapterParseError as failure:
                error = failure
        raise error

    def _checked_demo(self, number: int, demo: Any) -> dict[str, Any]:
        if not isinstance(demo, (Example, Mapping)):
            raise ProgramError(f"demo {number} is a {type(demo).__name__}: give an Example, or fields by name")
        fields = demo.to_dict() if isinstance(demo, Example) else dict(cast("Mapping[str, Any]", demo))
        if not self.signature.output_fields.keys() & fields.keys():
            raise ProgramError(
                f"demo {number} has none of the outputs {', '.join(self.signature.output_fields)}; "
                f"its fields are {', '.join(fields) or 'none'}"
            )
        return {name: plain(value) for name, value in fields.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Signature and state never change in place, so a copy may share them.
        clone = copy.copy(self)
        memo[id(self)] = clone
        return clone


class _Asked:
    """Sends a predictor's exchanges to the model in force, piece by piece where somebody reads the pieces."""

    def __init__(self, predictor: Predict) -> None:
        self._predictor = predictor
        self._attempt = 0

    async def __call__(self, exchange: Exchange) -> LMResponse:
        rollout = current_rollout()
        request = LMRequest(
            messages=exchange.messages,
            lm=exchange.lm or self._predictor.state.lm,
            rollout_id=rollout or None,
            temperature=current_rollout_temperature() if rollout else None,
            tools=exchange.tools,
            response_format=exchange.response_format,
        )
        stream = current_stream()
        if stream is None:
            return await current_runtime().generate(request)
        attempt, self._attempt = self._attempt, self._attempt + (exchange.reader is not None)
        reader = exchange.reader() if exchange.reader else None
        return await stream.ask(request, reader, predictor=self._predictor, attempt=attempt)


class ChainOfThought(Module):
    """Predict that reasons first: the answer has a `reasoning` before the signature's own outputs.

        answer = ChainOfThought("question -> answer")
        prediction = await answer(question="What is the capital of Belgium?")
        print(prediction.reasoning, prediction.answer)

    Args:
        signature: A Signature class, or a string such as "question -> answer".

    Source: Wei et al. 2022, "Chain-of-Thought Prompting Elicits Reasoning in Large Language Models".
    """

    def __init__(self, signature: type[Signature] | str) -> None:
        self.signature = signature_of(signature)
        self.predict = Predict(self.signature.prepend("reasoning", OutputField(desc="think step by step"), str))

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
