import copy
import inspect
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from dspex_core import events
from dspex_core.adapters import Adapter, checked_adapter
from dspex_core.errors import ProgramError
from dspex_core.modules._bounded import bounded
from dspex_core.modules._streaming import PieceStream, StreamedPiece
from dspex_core.programs import (
    Anatomy,
    ImportedProgram,
    ProgramFile,
    ProgramReference,
    StateFormat,
    load_state,
    read_program,
    save_state,
    write_program,
)
from dspex_core.record import Example, Prediction
from dspex_core.references import CodeReference, reference_to
from dspex_core.seam import (
    AdapterConfig,
    ConfiguredLM,
    LMConfig,
    ProgramState,
    ToldCall,
    configuration_of,
    metered,
    plain,
)
from dspex_core.synchronous import in_thread, run_synchronously

if TYPE_CHECKING:
    from dspex_core.modules._pipeline import Pipeline
    from dspex_core.modules._predict import Predict

_Part = TypeVar("_Part", bound="Module")


def checked_module(part: Any, *, where: str) -> "Module":
    """What is to be a part of a program, if it is a module.

    Raises:
        ProgramError: If it is none.
    """
    if not isinstance(part, Module):
        name = part.__name__ if isinstance(part, type) else repr(part)
        raise ProgramError(f"{where} is made of modules, and {name} is none: give one such as Predict('text -> label')")
    return part


class Module:
    """A step of a program, or several: subclass it, build parts in `__init__`, and use them in `forward`.

        class Answer(Module):
            def __init__(self):
                self.search = Predict("question -> query")
                self.answer = ChainOfThought("question, query -> answer")

            async def forward(self, question):
                found = await self.search(question=question)
                return await self.answer(question=question, query=found.query)

    `forward` may be an ordinary `def`, too: it then runs in a thread, where it may block, and calls its parts with
    `.run(…)` instead of awaiting them.
    """

    _built_from: ProgramReference | None = None
    _is_async = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._is_async = inspect.iscoroutinefunction(cls.forward)

    async def forward(self, **inputs: Any) -> Prediction:
        """What the module does with its inputs; a subclass defines it, with parameters of its own."""
        raise ProgramError(f"{type(self).__name__} defines no forward(…)")

    async def __call__(self, **inputs: Any) -> Prediction:
        """Run the module.

        Args:
            **inputs: Input fields by name.

        Returns:
            The prediction, with what it took in `.usage`.

        Raises:
            ProgramError: If `forward` returns something else than a Prediction.
        """
        if events.watched():
            return await self._told(inputs)
        return await self._called(inputs)

    async def _called(self, inputs: dict[str, Any]) -> Prediction:
        with metered() as meter:
            prediction: Any = await (self.forward(**inputs) if self._is_async else self._forward_in_thread(inputs))
        if not isinstance(prediction, Prediction):
            kind = type(prediction).__name__
            raise ProgramError(f"{type(self).__name__}.forward returned a {kind}, not a Prediction")
        return prediction.with_usage(meter.usage)

    async def _told(self, inputs: dict[str, Any]) -> Prediction:
        about = {"module": type(self).__name__}
        call = ToldCall(events.ModuleStart, events.ModuleEnd, about, inputs=plain(inputs))
        with metered() as meter:
            try:
                with call.inside():
                    prediction = await self._called(inputs)
            except BaseException as error:
                call.fail(error, usage=meter.usage)
                raise
        call.end(outputs=plain(prediction.to_dict()), usage=prediction.usage)
        return prediction

    async def _forward_in_thread(self, inputs: dict[str, Any]) -> Any:
        forward = cast("Callable[..., Any]", self.forward)
        try:
            answer = await in_thread(partial(forward, **inputs))
        except AttributeError as error:
            if not str(error).startswith(_UNAWAITED):
                raise
            raise ProgramError(
                f"{type(self).__name__}.forward is a plain `def`: call its parts with .run(…) there, or make it "
                f"`async def` and await them ({error})"
            ) from error
        return await answer if inspect.isawaitable(answer) else answer

    def __repr__(self) -> str:
        predictors = self.named_predictors()
        told = ", ".join(
            f"{'' if name == 'self' else name + ': '}{_arrow(predictor)}" for name, predictor in predictors.items()
        )
        return f"{type(self).__name__}({told})"

    def input_names(self) -> dict[str, bool] | None:
        """The inputs that the module takes, each with whether it must be given; None if it takes any."""
        parameters = inspect.signature(self.forward).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return None
        return {parameter.name: parameter.default is parameter.empty for parameter in parameters}

    def output_names(self) -> set[str]:
        """The outputs that the module is known to give before it runs; none of a class of your own."""
        return set()

    async def batch(self, rows: Sequence[Mapping[str, Any] | Example], *, concurrency: int = 64) -> list[Prediction]:
        """Run the module on many inputs.

        Args:
            rows: Inputs by name, or examples that know theirs.
            concurrency: Most of them in flight at once.

        Returns:
            Predictions in the order of `rows`.

        Raises:
            DSPExError: The first error met, once the calls under way are done; `Evaluate` lists errors instead.
        """
        given = [row.inputs() if isinstance(row, Example) else dict(row) for row in rows]
        return await bounded([partial(self, **inputs) for inputs in given], concurrency=concurrency)

    def set_lm(self, lm: ConfiguredLM | LMConfig) -> None:
        """Give every predictor in this program a model of its own, in place; it is saved with the program.

        Raises:
            ConfigurationError: If it is no LM, or was given its key in code, which is never saved.
        """
        config = configuration_of(lm)
        for predictor in self.named_predictors().values():
            predictor.set_state(predictor.state.model_copy(update={"lm": config}))

    def __or__(self, other: "Module") -> "Pipeline":
        """A pipeline of this module and then the other; fields flow by name."""
        from dspex_core.modules._pipeline import Pipeline  # noqa: PLC0415 - a pipeline is a module too

        return Pipeline([*_stages(self), *_stages(other)])

    def set_adapter(self, adapter: Adapter | AdapterConfig | None) -> None:
        """Give every predictor in this program an adapter of its own, in place; it is saved with the program.

        Raises:
            ConfigurationError: If it is no adapter.
        """
        config = adapter
        if config is not None and not isinstance(config, AdapterConfig):
            config = checked_adapter(config, where="set_adapter(…)").config
        for predictor in self.named_predictors().values():
            predictor.set_state(predictor.state.model_copy(update={"adapter": config}))

    def stream(self, **inputs: Any) -> AsyncGenerator[StreamedPiece | Prediction]:
        """Run the module and read its answer while it is written.

            async for piece in program.stream(question="Why is the sky blue?"):
                if isinstance(piece, StreamedPiece):
                    print(piece.text, end="")

        Who reads slowly slows the reading from the model; nothing piles up. Leaving the loop early (close the generator
        with `contextlib.aclosing`, or cancel the task) cancels the run and closes its connections.

        Yields:
            Pieces of every predictor's output fields as they arrive, and at last the Prediction.

        Raises:
            DSPExError: When iterated, as calling the module does.
        """
        names = {id(predictor): name for name, predictor in self.named_predictors().items()}
        return PieceStream(names).run(partial(self, **inputs))

    def run(self, **inputs: Any) -> Prediction:
        """The same as `await module(…)`, from synchronous code; works inside a notebook too."""
        return run_synchronously(self(**inputs))

    def named_predictors(self) -> dict[str, "Predict"]:
        """Every predictor in this module by its dotted name, in the order the parts were set."""
        from dspex_core.modules._predict import Predict  # noqa: PLC0415 - a predictor is a module too

        return dict(walk(self, Predict, "", set()))

    def named_children(self) -> Mapping[str, Any]:
        """What predictors and searches are looked for in, by name: the attributes, and what they hold."""
        return vars(self)

    def calls_of_parts(self) -> dict[str, tuple[int, int]]:
        """How often one run calls parts that it does not call exactly once: at least and at most, by attribute.

        A plan of a compile counts with it. A module of your own that calls a part in a loop says so here.
        """
        return {}

    def get_state(self) -> ProgramState:
        """Instructions, demos and LM of every predictor."""
        return ProgramState(predictors={name: predictor.state for name, predictor in self.named_predictors().items()})

    def with_state(self, state: ProgramState) -> Self:
        """A copy of this program in another state; this one stays as it is.

        Raises:
            ProgramError: If the state is of a program with other predictors.
        """
        program = copy.deepcopy(self)
        program._enter(state)  # noqa: SLF001 - the same class
        return program

    def _enter(self, state: ProgramState) -> None:
        predictors = self.named_predictors()
        if predictors.keys() != state.predictors.keys():
            raise ProgramError(
                f"this state has predictors {', '.join(state.predictors)}; the program's are {', '.join(predictors)}"
            )
        for name, predictor in predictors.items():
            predictor.set_state(state.predictors[name])

    def reference(self) -> ProgramReference:
        """How another process rebuilds this program's structure.

        Raises:
            ProgramError: If it cannot: the class is not importable, or needs arguments.
        """
        if self._built_from is not None:
            return self._built_from
        return reference_to_class(type(self), predictors=self.named_predictors())

    def _anatomy(self) -> Anatomy:
        from dspex_core.modules._retrieve import Retrieve  # noqa: PLC0415 - a search is a module too

        signatures = {name: predictor.signature for name, predictor in self.named_predictors().items()}
        return Anatomy(signatures, {name: search.k for name, search in walk(self, Retrieve, "", set())})

    def built_from(self, reference: ProgramReference) -> Self:
        """This program, remembering the reference that it was built from."""
        self._built_from = reference
        return self

    def save(self, path: str | Path, *, format: StateFormat = "dspex") -> None:  # noqa: A002 - as users say it
        """Write structure and state to a readable JSON file.

        Args:
            path: The file; one that is there is replaced.
            format: "dspy" writes what `dspy.Module.load` reads, which is the state alone; see `save_state`.

        Raises:
            ProgramError: If the file cannot be written or the structure cannot be written down.
        """
        if format == "dspex":
            write_program(path, ProgramFile(structure=self.reference(), state=self.get_state()))
        else:
            self.save_state(path, format=format)

    def save_state(self, path: str | Path, *, format: StateFormat = "dspex") -> None:  # noqa: A002 - as above
        """Write the state alone to a readable JSON file: instructions, demos and LMs, and no structure.

        Args:
            path: The file; one that is there is replaced.
            format: "dspy" writes what `dspy.Module.load` of version 3.4.1 reads.

        Raises:
            ProgramError: If the file cannot be written, or something has no place in DSPy's; names it.
        """
        save_state(path, self.get_state(), self._anatomy(), form=format)

    def load_state(self, path: str | Path, *, format: StateFormat = "dspex") -> Self:  # noqa: A002 - as above
        """Put this program into a saved state, in place.

        Args:
            path: The file.
            format: "dspy" reads what DSPy's `save` wrote as JSON.

        Returns:
            This program.

        Raises:
            ProgramError: If it is no such file, is of another program, or holds something that has no equivalent here;
                nothing has changed then.
        """
        self._enter(load_state(path, self._anatomy(), form=format))
        return self

    @staticmethod
    def load(path: str | Path, *, trust: Collection[str] | None = None) -> "Module":
        """Read a program saved with `save`.

        Args:
            path: The file.
            trust: Packages that the file may import code from; None trusts all.

        Raises:
            ProgramError: If it is not a program file of this version.
            TrustError: If it names code that is not trusted.
        """
        from dspex_core.modules._build import build_program  # noqa: PLC0415 - the builder knows every module

        file = read_program(path)
        structure = file.structure
        if isinstance(structure, ImportedProgram):
            # The code may have changed since, and its author knows; a state that no longer fits is refused below.
            unchecked = CodeReference(path=structure.code.path)
            structure = ImportedProgram(code=unchecked)
            built = build_program(structure, trust=trust)
            structure = ImportedProgram(code=reference_to(unchecked.path, what="program"))
            return built.built_from(structure).with_state(file.state)
        return build_program(structure, trust=trust).with_state(file.state)


def reference_to_class(kind: type[Any], *, predictors: Collection[str]) -> ImportedProgram:
    """Where a program's class is imported from, if an instance of it can be made anew from that alone.

    Args:
        kind: The class.
        predictors: Names of the predictors that an instance has.

    Raises:
        ProgramError: If none can: the class is not importable, or needs arguments.
    """
    code = reference_to(kind, what="program")
    try:
        rebuilt = kind()
    except TypeError as error:
        raise ProgramError(
            f"{code.path} cannot be rebuilt without arguments ({error}): keep an instance in a module and "
            "name it as 'package.module:attribute'"
        ) from None
    if set(dict(rebuilt.named_predictors())) != set(predictors):
        raise ProgramError(f"{code.path}() builds other predictors than this instance has")
    return ImportedProgram(code=code)


_UNAWAITED = "'coroutine' object has no attribute"


def _arrow(predictor: "Predict") -> str:
    signature = predictor.signature
    return f"{', '.join(signature.input_fields)} -> {', '.join(signature.output_fields)}"


def _stages(module: Module) -> Sequence[Module]:
    from dspex_core.modules._pipeline import Pipeline  # noqa: PLC0415 - as above

    return module.parts if type(module) is Pipeline else [module]


def walk(part: Any, kind: type[_Part], name: str, seen: set[int]) -> Iterator[tuple[str, _Part]]:
    """Every part of a kind in a program by its dotted name, but for parts within those."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, kind):
        yield name or "self", part
        return
    children: Iterator[tuple[str, Any]]
    if isinstance(part, Module):
        children = ((f"{name}.{key}" if name else key, value) for key, value in part.named_children().items())
    elif isinstance(part, (list, tuple)):
        items = cast("list[Any]", part)
        children = ((f"{name}[{index}]", value) for index, value in enumerate(items))
    elif isinstance(part, dict):
        entries = cast("dict[Any, Any]", part)
        children = ((f"{name}[{key!r}]", value) for key, value in entries.items())
    else:
        return
    for child_name, child in children:
        yield from walk(child, kind, child_name, seen)
