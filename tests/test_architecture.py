"""Who may import whom, read from the source: docs/design and CONTRIBUTING say why."""

import ast
import importlib
import pkgutil
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("dspex_core", "workflows", "activities", "dspex")
IO_ROOMS = {"lm", "runtime", "datasets", "artifacts", "testing", "retrieval", "sandbox", "mcp", "training"}
IO_LIBRARIES = {
    "aiohttp", "anthropic", "diskcache", "genai_prices", "http", "httpx", "mcp", "obstore", "openai", "pydantic_monty",
    "socket", "sqlite3", "subprocess", "temporalio", "tenacity", "urllib",
}  # fmt: skip
ALLOWED = {
    "dspex_core": {"dspex_core"},
    "workflows": {"workflows", "dspex_core"},
    "activities": {"activities", "dspex_core"},
    "dspex": {"dspex", "workflows", "activities", "dspex_core"},
}


def module_names():
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = module_names()


@cache
def imported_by(name):
    """Full names of all that a module imports, wherever in the file; of ours, down to the module or the name."""
    return tuple(imports_in(name))


def imports_in(name):
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def module_of(target):
    """The module of ours that an imported name stands for or stands in; names of a lazy façade are followed home."""
    package, _, rest = target.partition(".")
    homes = getattr(importlib.import_module(package), "_HOMES", {}) if package in PACKAGES else {}
    if rest in homes:
        return f"{package}.{homes[rest]}"
    while target and target not in MODULES:
        target = target.rpartition(".")[0]
    return target


def room_of(module):
    """Package or file right below the top: `dspex_core.lm._cache` is in `lm`; the façade itself in none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def arrows(package):
    """Every import of ours from a module of the package: importing module, imported module."""
    for name in MODULES:
        if name.partition(".")[0] == package:
            for target in imported_by(name):
                if target.partition(".")[0] in PACKAGES:
                    yield name, module_of(target)


def test_the_reading_of_imports_finds_what_is_there():
    assert "aiohttp.web" in set(imported_by("dspex_core.testing.fake_provider._server"))
    assert ("dspex_core.runtime._in_process", "dspex_core.lm") in set(arrows("dspex_core"))
    assert ("dspex_core.runtime._in_process", "dspex_core.events") in set(arrows("dspex_core"))
    assert ("workflows._compile", "workflows._runtime") in set(arrows("workflows"))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_is_below_them(package):
    wrong = [(name, target) for name, target in arrows(package) if target.partition(".")[0] not in ALLOWED[package]]
    assert wrong == []


@pytest.mark.parametrize("package", ["dspex_core", "workflows"])
def test_what_decides_imports_nothing_that_does_input_or_output(package):
    deciding = [
        (name, target)
        for name, target in arrows(package)
        if target.startswith("dspex_core.")
        and room_of(target) in IO_ROOMS
        and (package == "workflows" or room_of(name) not in IO_ROOMS)
        and name != "dspex_core"  # the façade, which imports when asked
    ]
    assert deciding == []


def test_what_decides_uses_no_library_for_input_or_output():
    wrong = [
        (name, target)
        for name in MODULES
        if name.startswith("dspex_core.") and room_of(name) not in IO_ROOMS
        for target in imported_by(name)
        if target.partition(".")[0] in IO_LIBRARIES
    ]
    assert wrong == []


def test_the_core_knows_no_temporal():
    knowing = [
        name for name in MODULES if any(target.partition(".")[0] == "temporalio" for target in imported_by(name))
    ]
    assert {name.partition(".")[0] for name in knowing} <= {"workflows", "activities", "dspex"}


@pytest.mark.parametrize("package", ["dspex_core", "dspex"])
def test_rooms_import_each_other_in_no_circle(package):
    below = {}
    for name, target in arrows(package):
        here, there = room_of(name), room_of(target)
        if target.partition(".")[0] == package and here and there and here != there:
            below.setdefault(here, set()).add(there)
    assert circle_in(below) is None


def circle_in(below):
    done = set()

    def visit(room, path):
        if room in path:
            return [*path[path.index(room) :], room]
        if room in done:
            return None
        for other in sorted(below.get(room, ())):
            if circle := visit(other, [*path, room]):
                return circle
        done.add(room)
        return None

    return next((circle for room in sorted(below) if (circle := visit(room, []))), None)


def test_a_circle_is_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}}) is None


@pytest.mark.parametrize("package", PACKAGES)
def test_private_files_are_imported_within_their_room_only(package):
    wrong = [
        (name, target)
        for name, target in arrows(package)
        if (private := private_part(target)) and not f"{name}.".startswith(f"{private}.")
    ]
    assert wrong == []


def private_part(module):
    """The room whose private file this is, or nothing."""
    parts = module.split(".")
    at = next((number for number, part in enumerate(parts) if part.startswith("_") and part != "__main__"), None)
    return None if at is None else ".".join(parts[:at])


FACADES = [name for name, path in MODULES.items() if "__all__" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", FACADES)
def test_every_name_that_a_facade_promises_is_there(name):
    module = importlib.import_module(name)
    assert [promised for promised in module.__all__ if not hasattr(module, promised)] == []
    assert len(module.__all__) == len(set(module.__all__))
    assert set(module.__all__) <= set(dir(module))


def test_every_room_has_a_facade():
    rooms = [f"{package}.{found.name}" for package in PACKAGES for found in pkgutil.iter_modules([ROOT / package])
             if found.ispkg]  # fmt: skip
    assert [room for room in rooms if room not in FACADES] == []


# The names that users rely on, so far as they exist.
INTERFACE = {
    "dspex_core": [
        "Signature", "InputField", "OutputField", "Example", "Prediction", "Module", "Predict", "ChainOfThought", "LM",
        "Score", "Evaluate", "configure", "using", "events", "Retrieve", "BestOfN", "Refine", "MultiChainComparison",
        "ReAct", "CodeAct", "ProgramOfThought", "Pipeline", "Parallel", "KNN", "Tool", "Supervised",
    ],
    "dspex_core.optimizers": [
        "LabeledFewShot", "BootstrapFewShot", "BootstrapFewShotWithRandomSearch", "COPRO", "SIMBA", "InferRules",
        "MIPROv2", "GEPA", "KNNFewShot", "Ensemble", "BootstrapFinetune", "BetterTogether",
    ],
    "dspex_core.testing": ["FakeProvider", "FakeProviderProcess"],
    "dspex": ["Client", "Budget", "DSPExPlugin"],
}  # fmt: skip


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in INTERFACE.items() for name in names])
def test_the_names_that_users_rely_on_can_be_imported(module, name):
    assert name in importlib.import_module(module).__all__
    assert getattr(importlib.import_module(module), name) is not None


@pytest.mark.parametrize("package", ["dspex_core", "dspex"])
def test_a_name_that_is_not_there_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nonsense'"):
        _ = importlib.import_module(package).Nonsense
