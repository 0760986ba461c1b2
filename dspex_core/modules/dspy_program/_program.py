import copy
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from dspex_core.errors import ProgramError
from dspex_core.modules._module import Module, reference_to_class
from dspex_core.modules._predict import Predict
from dspex_core.modules.dspy_program._library import is_dspy_example, is_dspy_module, library
from dspex_core.modules.dspy_program._prompts import DSPyPredictor
from dspex_core.modules.dspy_program._run import fields_of, run_module
from dspex_core.modules.dspy_program._state import handed_back, read_state, ready_to_run
from dspex_core.programs import Anatomy, ProgramReference, StateFormat
from dspex_core.record import Example, Prediction


class DSPyProgram(Module):
    """A `dspy.Module` as a program here: every optimizer takes it, and a worker runs it. No line of it changes.

        best = await MIPROv2(metric="exact_match").compile(DSPyProgram(triage), trainset=train, valset=dev)
        triage = best.program.to_dspy()                       # a dspy.Module with its state set
        best.program.save("triage.json", format="dspy")       # or a file that its own `load` reads

    DSPy's adapters write its prompts and read the answers; the calls go to the LM in force here (`using(lm=…)`), or to
    the LMs that its parts hold, through our cache, limits, retries and accounting. A program with a `forward` runs in a
    thread of its own, one that has only an `aforward` on the loop.

    Args:
        module: The `dspy.Module`, or a class of one that takes no arguments. A copy is taken.

    Raises:
        ProgramError: If it is none, or a predictor's signature or LM has no equivalent here; when called, if it returns
            something else than a `dspy.Prediction`.
        ConfigurationError: If DSPy is not installed.
    """

    def __init__(self, module: Any) -> None:
        library()
        self._source: Any = _instance_of(module).deepcopy()
        self._predictors: dict[str, Predict] = {}
        for name, predictor in self._source.named_predictors():
            self._predictors[name] = DSPyPredictor(name, predictor.signature)
            self._predictors[name].set_state(read_state(name, predictor))
        self._ready: Any = None

    async def forward(self, **inputs: Any) -> Prediction:
        """Run the module."""
        if self._ready is None:
            self._ready = ready_to_run(self._source, self.get_state())
        answer = await run_module(self._ready, inputs, self._predictors)
        if not isinstance(answer, library().Prediction):
            raise ProgramError(f"{self._name}.forward returned a {type(answer).__name__}, not a dspy.Prediction")
        return Prediction(fields_of(answer))

    def to_dspy(self) -> Any:
        """The program as DSPy runs it: a copy of the `dspy.Module` with instructions, demos and LMs set.

        Raises:
            ProgramError: If an LM of its state has no equivalent there.
        """
        return handed_back(self._source, self.get_state())

    def named_predictors(self) -> dict[str, Predict]:
        """What stands for each predictor, by the name that DSPy gives it; its signature says what is asked."""
        return dict(self._predictors)

    def named_children(self) -> Mapping[str, Any]:
        """The same."""
        return self._predictors

    def input_names(self) -> dict[str, bool] | None:
        """What `forward` takes; of a predictor of DSPy's own, what its signature does."""
        # Of the class, because DSPy warns of an instance's `forward` being looked at.
        kind: Any = self._source.__class__
        called = kind.forward if hasattr(kind, "forward") else kind.aforward
        parameters = list(inspect.signature(called).parameters.values())
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return {parameter.name: parameter.default is parameter.empty for parameter in parameters[1:]}
        signature = getattr(self._source, "signature", None)
        if signature is None and len(self._predictors) == 1:
            signature = self._source.predictors()[0].signature
        return None if signature is None else dict.fromkeys(signature.input_fields, True)

    def reference(self) -> ProgramReference:
        """Where the module is imported from.

        Raises:
            ProgramError: If no other process could import it: then keep it in a module, and name it there.
        """
        if self._built_from is not None:
            return self._built_from
        kind: type[Any] = self._source.__class__
        return reference_to_class(kind, predictors=self._predictors)

    def save_state(self, path: str | Path, *, format: StateFormat = "dspex") -> None:  # noqa: A002 - as users say it
        """Write the state alone; as "dspy", DSPy writes it itself.

        Raises:
            ProgramError: If the file cannot be written, or an LM has no place in DSPy's.
        """
        if format != "dspy":
            super().save_state(path, format=format)
            return
        try:
            self.to_dspy().save(str(path))
        except (OSError, RuntimeError, ValueError) as error:
            raise ProgramError(f"DSPy cannot write the state to {path}: {error}") from None

    @property
    def _name(self) -> str:
        return type(self._source).__name__

    def _anatomy(self) -> Anatomy:
        searches = {
            name: part.k for name, part in self._source.named_parameters() if isinstance(part, library().Retrieve)
        }
        return Anatomy({name: predictor.signature for name, predictor in self._predictors.items()}, searches)

    def _enter(self, state: Any) -> None:
        super()._enter(state)
        self._ready = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # The module as it was given never changes, so copies may share it; each makes its own of it when it is run.
        clone = copy.copy(self)
        memo[id(self)] = clone
        vars(clone).update(_predictors=copy.deepcopy(self._predictors, memo), _ready=None)
        return clone

    def __repr__(self) -> str:
        return f"DSPyProgram({self._name}: {', '.join(self._predictors) or 'no predictors'})"


def as_program(given: Any) -> Any:
    """A `dspy.Module` as a program; whatever else is given stays what it is.

    Raises:
        ProgramError: As `DSPyProgram`.
    """
    return DSPyProgram(given) if is_dspy_module(given) else given


def as_rows(given: Any) -> Any:
    """A data set with every `dspy.Example` in it as an `Example`; whatever else is given stays what it is.

    Raises:
        InputError: If one of them names an input that it has not.
    """
    rows = cast("list[Any]", given)
    if not isinstance(given, list | tuple) or not any(map(is_dspy_example, rows)):
        return rows
    return [_row(row) if is_dspy_example(row) else row for row in rows]


def _row(row: Any) -> Example:
    try:
        names: list[str] = list(row.inputs().keys())
    except ValueError:  # it does not know its inputs, and whoever needs them says so
        return Example(fields_of(row))
    return Example(fields_of(row)).with_inputs(*names)


def _instance_of(module: Any) -> Any:
    if not is_dspy_module(module):
        raise ProgramError(f"DSPyProgram takes a dspy.Module, not {module!r:.200}")
    if not isinstance(module, type):
        return module
    try:
        return module()
    except TypeError as error:
        raise ProgramError(
            f"{module.__module__}.{module.__qualname__} cannot be made without arguments ({error}): "
            "give an instance of it instead"
        ) from None
