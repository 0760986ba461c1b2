from collections.abc import Mapping, Sequence
from typing import Any

from dspex_core.errors import ProgramError
from dspex_core.modules._module import Module
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.signature import signature_of


class Pipeline(Module):
    """Modules one after the other. A field flows by its name: from the inputs or any earlier part to every later one.

        answer = Predict("question -> query") | ChainOfThought("question, query -> answer")

    Args:
        parts: The modules, in order.

    The prediction has the outputs of all parts; of fields with one name, the last.

    Raises:
        ProgramError: If there is no part; when called, if a part's input is given by nobody.
    """

    def __init__(self, parts: Sequence[Module]) -> None:
        if not parts:
            raise ProgramError("a pipeline needs at least one module")
        self.parts = list(parts)

    @classmethod
    def from_spec(cls, spec: Sequence[Mapping[str, Any]]) -> "Module":
        """A pipeline from JSON-ready data, built when the program runs.

        Args:
            spec: One object a part: {"module": name, "signature": "question -> answer", "instructions": text}; the
                instructions may be left out.

        Raises:
            InputError: If a module's name is unknown or a signature does not parse; says which part.
        """
        from dspex_core.modules._build import build_program  # noqa: PLC0415 - the builder knows every module

        parts = tuple(_declared(number, part) for number, part in enumerate(spec))
        return build_program(DeclaredProgram(module="pipeline", parts=parts), trust=())

    async def forward(self, **inputs: Any) -> Prediction:
        """Run the parts in order."""
        fields = dict(inputs)
        outputs: dict[str, Any] = {}
        for number, part in enumerate(self.parts):
            prediction = await part(**self._given(number, part, fields))
            outputs |= prediction.to_dict()
            fields |= prediction.to_dict()
        return Prediction(outputs)

    def input_names(self) -> dict[str, bool] | None:
        """What the parts take and no earlier part gives, as far as the parts' outputs are known beforehand."""
        names: dict[str, bool] = {}
        given: set[str] = set()
        for part in self.parts:
            taken = part.input_names()
            if taken is None:
                return None
            names |= {name: must for name, must in taken.items() if name not in given and not names.get(name)}
            given |= part.output_names()
        return names

    def output_names(self) -> set[str]:
        """The outputs of all parts."""
        return {name for part in self.parts for name in part.output_names()}

    def reference(self) -> ProgramReference:
        """The parts, written out; for a subclass, where it is imported from."""
        if type(self) is not Pipeline:
            return super().reference()
        return DeclaredProgram(module="pipeline", parts=tuple(part.reference() for part in self.parts))

    def _given(self, number: int, part: Module, fields: Mapping[str, Any]) -> dict[str, Any]:
        names = part.input_names()
        if names is None:
            return dict(fields)
        for name, must in names.items():
            if must and name not in fields:
                raise ProgramError(
                    f"part {number + 1} of the pipeline ({type(part).__name__}) takes {name!r}, which neither the "
                    f"inputs nor an earlier part gives; there are {', '.join(fields) or 'none'}"
                )
        return {name: fields[name] for name in names if name in fields}


def _declared(number: int, part: Mapping[str, Any]) -> DeclaredProgram:
    unknown = sorted(part.keys() - {"module", "signature", "instructions"})
    if unknown or not isinstance(part.get("module"), str) or not isinstance(part.get("signature"), str):
        raise ProgramError(
            f"part {number + 1} of the pipeline: write {{'module': …, 'signature': …}}, with 'instructions' if need be"
            + (f"; {unknown[0]!r} is not known" if unknown else "")
        )
    signature = signature_of(part["signature"]).to_spec()
    if part.get("instructions"):
        signature = signature.model_copy(update={"instructions": str(part["instructions"])})
    return DeclaredProgram(module=part["module"], signature=signature)
