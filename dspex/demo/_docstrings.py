"""Reading the standard library's docstrings without running its modules."""

import ast
import importlib
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dspex_core.errors import ConfigurationError

_SKIPPED_FOLDERS = frozenset({"test", "tests", "idle_test", "__pycache__"})
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Documented:
    """A public class, function or method: its docstring, unindented, and every name that leads to it."""

    names: tuple[str, ...]
    docstring: str


def documented_in_sources(module: str) -> Iterator[Documented]:
    """Yield what a module or package written in Python documents; nothing if this Python has no such module.

    The source files are parsed, never imported: no side effects, no deprecation warnings, the same on each platform.
    """
    library = library_folder()
    package = library / module
    single = library / f"{module}.py"
    paths = [single] if single.is_file() else sorted(package.rglob("*.py"), key=lambda path: path.as_posix())
    for path in paths:
        within = path.relative_to(library).with_suffix("").parts
        if not _SKIPPED_FOLDERS.intersection(within):
            # `_pydecimal` and `_strptime` are the sources behind the public names `decimal` and `strptime`.
            public = tuple(part.removeprefix("_py").removeprefix("_") for part in within if part != "__init__")
            with warnings.catch_warnings():
                # Older modules hold invalid escapes that newer Pythons warn of.
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes())
            yield from _documented(tree, (*within, *public))


def documented_in_builtin(module: str, kind: str | None = None) -> Iterator[Documented]:
    """Yield what a module written in C documents, or only one of its classes.

    Args:
        module: A module without side effects, such as `math`.
        kind: A class of it, such as `str` of `builtins`; None for the module's functions and classes.
    """
    try:
        owner: object = importlib.import_module(module)
    except ImportError:
        return
    if kind is not None:
        owner = getattr(owner, kind)
    names = (module,) if kind is None else (module, kind)
    for name, member in sorted(vars(owner).items()):
        docstring: object = getattr(member, "__doc__", None)
        described = inspect.isroutine(member) or isinstance(member, type)
        if described and not name.startswith("_") and isinstance(docstring, str):
            yield Documented(names=(*names, name), docstring=inspect.cleandoc(docstring))


def library_folder() -> Path:
    """Return the folder of the standard library's sources.

    Raises:
        ConfigurationError: This Python came without them (some embedded builds have compiled files only).
    """
    folder = Path(sysconfig.get_path("stdlib"))
    if not (folder / "argparse.py").is_file():
        raise ConfigurationError(
            f"the standard library's sources are not in {folder}, and the demo reads their docstrings;"
            " use a Python that comes with them, such as the one from python.org or uv"
        )
    return folder


def _documented(node: ast.AST, names: tuple[str, ...]) -> Iterator[Documented]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            yield from _definition(child, names)
        elif isinstance(child, ast.If | ast.Try):
            yield from _documented(child, names)


def _definition(node: _Definition, names: tuple[str, ...]) -> Iterator[Documented]:
    if node.name.startswith("_"):
        return
    docstring = ast.get_docstring(node)
    if docstring:
        yield Documented(names=(*names, node.name), docstring=docstring)
    if isinstance(node, ast.ClassDef):
        yield from _documented(node, (*names, node.name))
