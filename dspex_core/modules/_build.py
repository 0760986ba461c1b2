import copy
from collections.abc import Callable, Collection
from typing import Any

from dspex_core.errors import ProgramError, UnknownNameError
from dspex_core.modules._module import Module
from dspex_core.modules._predict import ChainOfThought, Predict
from dspex_core.modules._react import ReAct
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.references import import_code

MODULES: dict[str, Callable[[Any], Module]] = {"chain_of_thought": ChainOfThought, "predict": Predict}
"""Built-in modules by the name that saved programs and the command line use."""


def module_named(name: str) -> Callable[[Any], Module]:
    """The built-in module of that name.

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in MODULES:
        raise UnknownNameError("module", name, MODULES)
    return MODULES[name]


def build_program(
    reference: ProgramReference, *, trust: Collection[str] | None, import_tools: bool = True
) -> Module:
    """A program's structure, in its initial state.

    Args:
        reference: What to build.
        trust: Packages that user code may come from; None trusts all.
        import_tools: Whether tools are to be called in this process; a workflow leaves that to its activities.

    Raises:
        ProgramError: If the reference names nothing that is a program.
        TrustError: If it names code outside the trusted packages, or code that has changed.
    """
    if isinstance(reference, DeclaredProgram):
        return module_named(reference.module)(reference.signature.build())
    found = import_code(reference.code, trust=trust, what="program")
    program = found() if isinstance(found, type) else found
    if not isinstance(program, Module):
        raise ProgramError(f"{reference.code.path} is a {type(program).__name__}, not a Module")
    return copy.deepcopy(program).built_from(reference)
