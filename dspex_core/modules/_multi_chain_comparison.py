from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

import pydantic

from dspex_core.errors import InputError, ProgramError
from dspex_core.invalid import first_problem
from dspex_core.modules._module import Module
from dspex_core.modules._predict import Predict
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.seam import LMRequest, LMResponse, Runtime, current_runtime, scoped_runtime
from dspex_core.signature import InputField, OutputField, Signature, signature_of
from dspex_core.tools import as_text

_REASONING = ("rationale", "reasoning")


class MultiChainComparison(Module):
    """Compares several reasoned answers to one question, and gives a better one.

        compare = MultiChainComparison("question -> answer", M=2)
        prediction = await compare(completions=[first, second], question="…")    # prediction.rationale, .answer

    Args:
        signature: A Signature class, or a string such as "question -> answer".
        M: How many completions there are to compare.
        temperature: Sampling temperature of the comparison.

    When called, `completions` are predictions or mappings with the signature's last output and, if there is one, the
    `reasoning` (or `rationale`) that led to it; `ChainOfThought` gives such.

    Raises:
        InputError: If `M` is not positive or `temperature` negative; when called, if there are not `M` completions, or
            one lacks the output.
        ProgramError: If the signature has a field that this needs the name of.

    Source: Yoran et al. 2023, "Answering Questions by Meta-Reasoning over Multiple Chains of Thought", section 3.
    Predictor and fields go by DSPy's names, so that states can be exchanged.
    """

    def __init__(
        self,
        signature: type[Signature] | str,
        M: int = 3,  # noqa: N803 - DSPy's name
        temperature: float = 0.7,
    ) -> None:
        if M < 1 or temperature < 0:
            raise InputError(f"MultiChainComparison: M={M}, temperature={temperature}: give at least 1, and at least 0")
        self.signature = signature_of(signature)
        self.M = M
        self.temperature = temperature
        self.last_key = list(self.signature.output_fields)[-1]
        self.predict = Predict(_comparing(self.signature, M))

    async def forward(self, **inputs: Any) -> Prediction:
        """Compare the completions."""
        completions: Sequence[Mapping[str, Any] | Prediction] = inputs.pop("completions", ())
        if len(completions) != self.M:
            raise InputError(f"MultiChainComparison(M={self.M}) was given {len(completions)} completions to compare")
        attempts = {_attempt_name(at): self._attempt(at, given) for at, given in enumerate(completions, start=1)}
        with scoped_runtime(cast("Runtime", _AtTemperature(current_runtime(), self.temperature))):
            return await self.predict(**inputs, **attempts)

    def input_names(self) -> dict[str, bool]:
        """The completions and the signature's inputs, all of which must be given."""
        return {"completions": True, **dict.fromkeys(self.signature.input_fields, True)}

    def output_names(self) -> set[str]:
        """The rationale and the signature's outputs."""
        return self.predict.output_names()

    def reference(self) -> ProgramReference:
        """The module, its signature and its options, written out; for a subclass, where it is imported from."""
        if type(self) is not MultiChainComparison:
            return super().reference()
        return DeclaredProgram(
            module="multi_chain_comparison",
            signature=self.signature.to_spec(),
            options={"M": self.M, "temperature": self.temperature},
        )

    @classmethod
    def from_declaration(cls, declared: DeclaredProgram) -> "MultiChainComparison":
        """The module that `reference` wrote out.

        Raises:
            ProgramError: If the declaration lacks something.
        """
        if declared.signature is None:
            raise ProgramError("a multi_chain_comparison is declared without its signature")
        try:
            options = _Options.model_validate(declared.options)
        except pydantic.ValidationError as error:
            where, what = first_problem(error)
            raise ProgramError(f"a multi_chain_comparison cannot be made: option {where!r}: {what}") from None
        return cls(declared.signature.build(), options.M, options.temperature)

    def _attempt(self, number: int, completion: Mapping[str, Any] | Prediction) -> str:
        answer = completion.get(self.last_key)
        if answer is None:
            raise InputError(
                f"completion {number} has no {self.last_key!r}; it has {', '.join(completion.keys()) or 'nothing'}"
            )
        reasoning = next((completion.get(name) for name in _REASONING if completion.get(name)), None)
        said = f"{self.last_key}: {as_text(answer).strip()}"
        return said if reasoning is None else f"reasoning: {as_text(reasoning).strip()}\n{said}"


class _Options(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    M: int = 3
    temperature: float = 0.7


class _AtTemperature:
    """A runtime whose models answer at some temperature, where a request names none."""

    def __init__(self, runtime: Runtime, temperature: float) -> None:
        self._runtime = runtime
        self._temperature = temperature

    async def generate(self, request: LMRequest) -> LMResponse:
        return await self._runtime.generate(self._with_temperature(request))

    def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        return self._runtime.stream(self._with_temperature(request))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def _with_temperature(self, request: LMRequest) -> LMRequest:
        if request.temperature is not None:
            return request
        return request.model_copy(update={"temperature": self._temperature})


def _attempt_name(number: int) -> str:
    return f"reasoning_attempt_{number}"


def _comparing(signature: type[Signature], count: int) -> type[Signature]:
    attempts = [_attempt_name(number) for number in range(1, count + 1)]
    if taken := [name for name in ("completions", "rationale", *attempts) if name in signature.model_fields]:
        raise ProgramError(f"MultiChainComparison needs the field name {taken[0]!r}: rename the signature's field")
    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in signature.input_fields.items()}
    fields |= {name: (str, InputField(desc="an attempt at an answer, which may be wrong")) for name in attempts}
    fields["rationale"] = (str, OutputField(desc="compare the attempts, and reason towards the right answer"))
    fields |= {name: (field.annotation, field) for name, field in signature.output_fields.items()}
    return pydantic.create_model(signature.__name__, __base__=Signature, __doc__=signature.instructions, **fields)
