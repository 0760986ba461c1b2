from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dspex_core.errors import ProgramError
from dspex_core.modules._module import Module, checked_module
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction


class Pipeline(Module):
    """Modules one after the other. A field flows by its name: from the inputs or any earlier part to every later one.

        answer = Predict("question -> query") | ChainOfThought("question, query -> answer")

    Args:
        parts: The modules, in order.

    The prediction has the outputs of all parts; of fields with one name, the last.

    Raises:
        ProgramError: If there is no part, or one is no module; when called, if a part's input is given by nobody.
    """

    def __init__(self, parts: Sequence[Module]) -> None:
        if not parts:
            raise ProgramError("a pipeline needs at least one module")
        self.parts = [checked_module(part, where="a pipeline") for part in parts]

    @classmethod
    def from_spec(cls, spec: Sequence[Mapping[str, Any]], *, trust: Collection[str] | None = None) -> "Pipeline":
        """A pipeline from JSON-ready data, built when the program runs.

            Pipeline.from_spec([
                {"module": "retrieve", "k": 3, "retriever": "my_app.search:index"},
                {"module": "react", "signature": "context, question -> answer", "tools": ["my_app.tools:lookup"]},
            ])

        Args:
            spec: One object a part: "module", a built-in module's name; "signature" (a string, or what `to_spec` wrote)
                and "instructions", if it has a signature; "part", if it runs another module, or "parts"; all else are
                the module's options by name. Tools, retrievers and reward functions are named as
                "package.module:attribute". A part of your own is {"program": "package.module:Class"}.
            trust: Packages that code may be imported from; None trusts all.

        Raises:
            InputError: If a part cannot be built; says which, and at which key.
            TrustError: If a part names code that is not trusted.
        """
        from dspex_core.modules._spec import part_of  # noqa: PLC0415 - the builder knows every module

        parts = [
            part_of(item, where=f"part {at} of the pipeline", trust=trust) for at, item in enumerate(spec, start=1)
        ]
        return Pipeline(parts)

    def to_spec(self) -> list[dict[str, Any]]:
        """The parts as data that `json.dumps` takes and `from_spec` builds the same structure from.

        Demos and instructions that an optimizer found are state, and no part of it: `save` keeps both.

        Raises:
            ProgramError: If a part cannot be rebuilt elsewhere.
        """
        from dspex_core.modules._spec import item_of  # noqa: PLC0415 - as above

        return [item_of(part.reference()) for part in self.parts]

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
