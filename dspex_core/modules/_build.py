import copy
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from dspex_core.errors import ProgramError, UnknownNameError
from dspex_core.metrics import METRICS
from dspex_core.modules._best_of_n import BestOfN
from dspex_core.modules._code_act import CodeAct
from dspex_core.modules._ensemble import EnsembledProgram
from dspex_core.modules._knn_few_shot import KNNFewShotProgram
from dspex_core.modules._module import Module, walk
from dspex_core.modules._multi_chain_comparison import MultiChainComparison
from dspex_core.modules._pipeline import Pipeline
from dspex_core.modules._predict import ChainOfThought, Predict
from dspex_core.modules._program_of_thought import ProgramOfThought
from dspex_core.modules._react import ReAct
from dspex_core.modules._refine import Refine
from dspex_core.modules._retrieve import Retrieve
from dspex_core.modules._supervised import SUPERVISED, PartElsewhere, Supervised
from dspex_core.modules.dspy_program import DSPyProgram, is_dspy_module
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.references import import_code
from dspex_core.seam import ProgramState

MODULES: dict[str, Callable[[Any], Module]] = {"chain_of_thought": ChainOfThought, "predict": Predict}
"""Modules made of a signature alone, by the name that saved programs and the command line use."""

Build = Callable[[ProgramReference], Module]
"""Builds a part, under the same rules as the whole."""

# One line makes a module declarable: it can then be saved, and sent to a worker, without any code of a user's.
_BUILDERS: dict[str, Callable[[DeclaredProgram, Build], Module]] = {
    "best_of_n": BestOfN.from_declaration,
    "code_act": lambda declared, _: CodeAct.from_declaration(declared),
    "ensemble": EnsembledProgram.from_declaration,
    "knn_few_shot": KNNFewShotProgram.from_declaration,
    "multi_chain_comparison": lambda declared, _: MultiChainComparison.from_declaration(declared),
    "program_of_thought": lambda declared, _: ProgramOfThought.from_declaration(declared),
    "react": lambda declared, build: ReAct.from_declaration(declared),  # noqa: ARG005 - it has no parts
    "retrieve": lambda declared, _: Retrieve.from_options(declared.options),
    "pipeline": lambda declared, build: Pipeline([build(part) for part in declared.parts]),
    "refine": Refine.from_declaration,
    SUPERVISED: Supervised.from_declaration,
}

_CALLS = {"best_of_n": "reward_fn", "ensemble": "reduce_fn", "knn_few_shot": "metric", "refine": "reward_fn"}
"""The options of modules that name a function which they call where they run."""


def module_named(name: str) -> Callable[[Any], Module]:
    """The built-in module of that name.

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in MODULES:
        raise UnknownNameError("module", name, MODULES)
    return MODULES[name]


def build_program(
    reference: ProgramReference,
    *,
    trust: Collection[str] | None,
    import_tools: bool = True,
    leave_parts: bool = False,
) -> Module:
    """A program's structure, in its initial state.

    Args:
        reference: What to build.
        trust: Packages that user code may come from; None trusts all.
        import_tools: Whether tools are to be called in this process; a workflow leaves that to its activities.
        leave_parts: Whether supervised parts are run elsewhere, and so not built; see `build_in_workflow`.

    Raises:
        ProgramError: If the reference names nothing that is a program.
        TrustError: If it names code outside the trusted packages, or code that has changed.
    """
    if isinstance(reference, DeclaredProgram):
        if reference.module == SUPERVISED and leave_parts:
            return Supervised.from_declaration(reference, None)
        build = partial(build_program, trust=trust, import_tools=import_tools, leave_parts=leave_parts)
        program = _declared(reference, build)
        if import_tools:
            _make_ready(program, trust)
        return program
    found = import_code(reference.code, trust=trust, what="program")
    if is_dspy_module(found):
        return DSPyProgram(found).built_from(reference)
    try:
        program = found() if isinstance(found, type) else found
    except TypeError as error:
        raise ProgramError(
            f"{reference.code.path} cannot be made without arguments ({error}): name an instance of it instead"
        ) from None
    if not isinstance(program, Module):
        raise ProgramError(f"{reference.code.path} is a {type(program).__name__}, not a Module nor a dspy.Module")
    return copy.deepcopy(program).built_from(reference)


def build_in_workflow(reference: ProgramReference, state: ProgramState) -> Module:
    """A program for a workflow: its tools are called, and its supervised parts are run, elsewhere.

    Raises:
        ProgramError: If the state is of a program with other predictors.
    """
    program = build_program(reference, trust=(), import_tools=False, leave_parts=True)
    own = dict(state.predictors)
    for name, part in walk(program, PartElsewhere, "", set()):
        below = (f"{name}.", f"{name}[")
        theirs = {found: _within(name, found) for found in own if found == name or found.startswith(below)}
        part.own_state = ProgramState(predictors={inner: own.pop(found) for found, inner in theirs.items()})
    return program.with_state(ProgramState(predictors=own))


def _within(part: str, predictor: str) -> str:
    """A predictor's name in the part alone."""
    return predictor.removeprefix(part).removeprefix(".") or "self"


def is_deterministic(reference: ProgramReference) -> bool:
    """Whether a workflow can run the program itself: it is made of built-in modules, and none calls code of a user's.

    Tools and retrievers are no such code: the workflow has its activities call them. Nor is a supervised part: another
    workflow runs it.
    """
    if isinstance(reference, DeclaredProgram) and reference.module == SUPERVISED:
        return True
    return (
        isinstance(reference, DeclaredProgram)
        and not _calls_users_code(reference)
        and all(is_deterministic(part) for part in reference.parts)
    )


def _calls_users_code(declared: DeclaredProgram) -> bool:
    """Whether it calls a function of a user's where it runs, and so where no rule of determinism holds."""
    function = declared.options.get(_CALLS.get(declared.module, ""))
    return function is not None and function.get("path") not in METRICS


def _make_ready(program: Module, trust: Collection[str] | None) -> None:
    """Import what a program calls in this process."""
    match program:
        case CodeAct() | ReAct():
            program.import_tools(trust)
        case BestOfN():
            program.import_reward(trust)
        case EnsembledProgram():
            program.import_reduce(trust)
        case KNNFewShotProgram():
            program.import_metric(trust)
        case Retrieve():
            program.require_trust(trust)
        case _:
            pass


def _declared(declared: DeclaredProgram, build: Build) -> Module:
    if declared.module in _BUILDERS:
        return _BUILDERS[declared.module](declared, build)
    if declared.module not in MODULES:
        raise UnknownNameError("module", declared.module, [*MODULES, *_BUILDERS])
    if declared.signature is None:
        raise ProgramError(f"a {declared.module} is declared without its signature")
    if declared.options:
        raise ProgramError(f"{next(iter(declared.options))!r} is not known; a {declared.module} has no options")
    return MODULES[declared.module](declared.signature.build())
