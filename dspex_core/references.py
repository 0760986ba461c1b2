"""References to code: how a run names a metric or a program that another process must import."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Collection, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict

from dspex_core.errors import CodeMissingError, ProgramError, TrustError


class CodeReference(BaseModel):
    """An attribute of an importable module.

    Attributes:
        path: `package.module:attribute`.
        source_digest: SHA-256 of the module's source where the reference was made, so that two machines with different
            code cannot be mistaken for each other; empty where there is no source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    source_digest: str = ""


_may_import: ContextVar[bool] = ContextVar("dspex_may_import", default=True)


@contextmanager
def importing_nothing() -> Generator[None]:
    """Have `import_code` refuse everything in the block: in a workflow, whose input anybody may have written.

    There, code that is named is for activities to import, which know what their worker trusts.
    """
    token = _may_import.set(False)
    try:
        yield
    finally:
        _may_import.reset(token)


def reference_to(value: Any, *, what: str) -> CodeReference:
    """The reference by which another process can import `value`.

    Args:
        value: A function, class or import path.
        what: What the value is, for the error ("metric", "program").

    Raises:
        ProgramError: If no other process could import it: a lambda, a nested function, or part of a script.
    """
    if isinstance(value, str):
        path = value
    else:
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if not module or not name or module == "__main__" or "<" in name:
            raise ProgramError(
                f"the {what} {name or value!r} cannot be imported by a worker: move it to a module of its own and "
                "pass it from there, or name it as 'package.module:attribute'"
            )
        path = f"{module}:{name}"
    imported = import_code(CodeReference(path=path), trust=None, what=what)
    if not isinstance(value, str) and imported is not value:
        raise ProgramError(f"the {what} at {path} is not the object given: another one has taken its name")
    return CodeReference(path=path, source_digest=_source_digest(path.partition(":")[0]))


def import_code(reference: CodeReference, *, trust: Collection[str] | None, what: str) -> Any:
    """Import what a reference names.

    To trust a package is to trust what it defines, and not what it imports: of a module that imports `os`, nobody gets
    `os.system`. Its objects may be instances of any class.

    Args:
        reference: What to import.
        trust: Packages that may be imported from. None trusts all, in whatever version is here, for code that the
            caller named in its own process.
        what: What it is, for the error.

    Raises:
        TrustError: If the package is not trusted, the code is another package's, or the source differs from the
            reference's; or under `importing_nothing`.
        ProgramError: If there is no such module or attribute, or the module fails while it is imported.
    """
    if not _may_import.get():
        raise TrustError(
            f"the {what} {reference.path!r} is not imported in a workflow, which leaves that to workers that trust it: "
            "start the run with dspex's client, which writes down where it is found"
        )
    require_trust(reference, trust=trust, what=what)
    module_name, _, attribute = reference.path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        digest = _source_digest(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
            if trust is not None:
                _require_own(found, part, reference, trust=trust, what=what)
    except TrustError:
        raise
    except (ImportError, AttributeError) as error:
        hint = "; run: pip install 'dspex[dspy]'" if getattr(error, "name", None) == "dspy" else ""
        raise CodeMissingError(f"{what} {reference.path!r} cannot be imported: {error}{hint}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module may fail in any way while it is imported
        raise ProgramError(
            f"{what} {reference.path!r}: its module failed to import: {type(error).__name__}: {error}"
        ) from None
    if trust is not None and reference.source_digest and digest != reference.source_digest:
        raise TrustError(
            f"the {what} {reference.path} differs between the process that started the run and this worker: "
            "bring both to the same version, and start the worker again"
        )
    return found


def require_trust(reference: CodeReference, *, trust: Collection[str] | None, what: str) -> None:
    """Refuse a reference that may not be imported, without importing anything; the arguments are `import_code`'s.

    Raises:
        TrustError: If the package is not trusted.
        ProgramError: If it is not written as package.module:attribute.
    """
    module_name, colon, attribute = reference.path.partition(":")
    if not colon or not module_name or not attribute:
        raise ProgramError(f"{what} {reference.path!r}: write package.module:attribute")
    package = module_name.partition(".")[0]
    if trust is not None and not _is_trusted(module_name, trust):
        raise TrustError(
            f"this worker does not trust the package {package!r} that the {what} {reference.path} comes from; "
            f"if you do, start it with --trust {package}"
        )


def _is_trusted(module_name: str, trust: Collection[str]) -> bool:
    return module_name.partition(".")[0] in trust or module_name in trust


def _require_own(found: Any, name: str, reference: CodeReference, *, trust: Collection[str], what: str) -> None:
    """Refuse what a trusted module merely imports, and the ways that Python's own attributes lead elsewhere."""
    if isinstance(found, ModuleType):
        home = found.__name__
    elif isinstance(found, type) or inspect.isroutine(found):
        home = getattr(found, "__module__", None) or "builtins"
    else:
        home = reference.path.partition(":")[0]
    package = reference.path.partition(".")[0].partition(":")[0]
    own = home.partition(".")[0] == package or _is_trusted(home, trust)
    if name.startswith("__"):
        own, home = False, f"Python's own ({name})"
    if not own:
        raise TrustError(
            f"the {what} {reference.path} leads to code of {home}, and only code of {package} itself may be used: "
            "write a function there that does what is wanted, or trust that other package, too"
        )


_digests: dict[str, tuple[int, str]] = {}
"""By module name: which module object the digest is of, and the digest."""


def _source_digest(module_name: str) -> str:
    """Digest of the source that a module was imported from, taken when it is first asked for: right after its import.

    A file that is edited later does not change what this process runs, so it must not change the digest either.
    """
    module = sys.modules.get(module_name)
    known = _digests.get(module_name)
    if known is None or known[0] != id(module):
        source = getattr(module, "__file__", None) or ""
        digest = hashlib.sha256(Path(source).read_bytes()).hexdigest() if source.endswith(".py") else ""
        known = _digests[module_name] = (id(module), digest)
    return known[1]
