"""The page for who comes from DSPy names all of DSPy's public names, and of ours only such as exist."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dspex_core
from dspex_core import optimizers

PAGE = Path(__file__).parents[1] / "docs/from-dspy.md"

# `dir(dspy)` of DSPy 3.4.1 without its packages, and, dotted, what only its packages have and a program may use.
NAMES = (Path(__file__).parent / "dspy_names.txt").read_text(encoding="utf-8").split()
PACKAGE = "lm15"
LOOK = """
import importlib, json, sys, types
import dspy
given = json.load(sys.stdin)
packages = {name.partition(".")[0] for name in given if "." in name}
for package in packages:
    importlib.import_module("dspy." + package)
def has(path):
    found = dspy
    for part in path.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True
names = [name for name in dir(dspy) if not name.startswith("_")]
public = [name for name in names if not isinstance(getattr(dspy, name), types.ModuleType)]
json.dump({"public": public, "missing": [name for name in given if not has(name)]}, sys.stdout)
"""


def rows():
    """The first two cells of every row: DSPy's names and ours."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and line != "| DSPy | here | |":
            _, theirs, ours, _ = line.split("|", 3)
            yield re.findall(r"`([^`]+)`", theirs), re.findall(r"`([^`]+)`", ours)


def ours(path):
    """The object of ours that goes by this name: of the façade, or by its whole path."""
    found, rest = dspex_core, path
    if path.startswith("dspex_core."):
        _, room, rest = path.split(".", 2)
        found = importlib.import_module(f"dspex_core.{room}")
    for name in rest.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_of_dspy_is_on_the_page_once(name):
    assert [theirs for theirs, _ in rows() if f"dspy.{name}" in theirs] != []
    assert sum(theirs.count(f"dspy.{name}") for theirs, _ in rows()) == 1


def test_the_page_gives_dspy_no_names_that_it_lacks():
    given = {name.removeprefix("dspy.") for theirs, _ in rows() for name in theirs if name.startswith("dspy.")}
    assert given == set(NAMES)


@pytest.mark.parametrize("name", sorted({name for _, names in rows() for name in names}))
def test_every_name_of_ours_on_the_page_exists(name):
    assert ours(name) is not None


@pytest.mark.slow
def test_nothing_that_is_here_is_said_to_be_missing():
    missing = [name.removeprefix("dspy.") for theirs, names in rows() if not names for name in theirs]
    assert [name for name in missing if hasattr(dspex_core, name) or hasattr(optimizers, name)] == []


@pytest.mark.slow
def test_the_names_are_those_that_dspy_has():
    finished = subprocess.run(
        [sys.executable, "-c", LOOK],
        input=json.dumps(NAMES),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(finished.stdout.splitlines()[-1])
    assert sorted(found["public"]) == [name for name in NAMES if "." not in name and name != PACKAGE]
    assert found["missing"] == []
