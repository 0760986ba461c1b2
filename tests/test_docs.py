"""What README and docs show is run, and what they name exists."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from dspex.cli._app import app
from dspex.cli._compile import run_document
from dspex.client import RunStatus
from dspex_core import errors, optimizers
from dspex_core.testing import FakeProviderProcess

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "examples/triage/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIAL = ROOT / "docs/getting-started.md"
PYTHON_BLOCK = re.compile(r"^(<!-- not run -->\n)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# One page is one program: later blocks use what earlier ones made. `await` stands at top level, as in a notebook.
# The interpreter's own ending is left out: a thread of Temporal's client may abort it (temporalio/sdk-python#300).
RUN_PAGE = """
import ast, asyncio, json, os, sys
namespace = {"__name__": "__main__"}
with asyncio.Runner() as runner:
    for line, source in json.load(sys.stdin):
        code = compile("\\n" * line + source, sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        awaited = eval(code, namespace)
        if awaited is not None:
            runner.run(awaited)
sys.stdout.flush()
os._exit(0)
"""


def page_name(page):
    return str(page.relative_to(ROOT))


def python_blocks(page):
    """Line before the block's first, and its source, for every block that is to be run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start(2)), match[2]) for match in PYTHON_BLOCK.finditer(text) if match[1] is None
    ]


def is_durable(page):
    return any("from dspex import" in source for _, source in python_blocks(page))


def code_of(page):
    """Code of a page: lines of its blocks, and what stands between backticks."""
    text = page.read_text(encoding="utf-8")
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    shell = [line for match in fenced.finditer(text) if match[1] != "python" for line in match[2].splitlines()]
    prose = fenced.sub("", text)
    indented = [line.strip() for line in prose.splitlines() if line.startswith("    ")]
    return [*shell, *indented, *re.findall(r"`([^`\n]+)`", prose)]


def command_lines():
    for page in PAGES:
        for code in code_of(page):
            line = code.removeprefix(".venv/bin/")
            if line.startswith("dspex "):
                yield pytest.param(line, id=f"{page_name(page)}: {line[:60]}")


def run_page(page, folder, **variables):
    (folder / "examples").symlink_to(ROOT / "examples")
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN_PAGE, page_name(page)],
        input=json.dumps(python_blocks(page)),
        env={**os.environ, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def commands(group=None, prefix=()):
    """Every command by its words, with the flags it knows."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))
        else:
            options = [option for option in command.params if option.param_type_name == "option"]
            yield (*prefix, name), [option for option in options if not option.hidden]


COMMANDS = dict(commands())


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if python_blocks(page) and not is_durable(page) and page != TUTORIAL],
    ids=page_name,
)
def test_python_of_a_page_runs(page, tmp_path):
    with FakeProviderProcess() as provider:
        finished = run_page(
            page,
            tmp_path,
            DSPEX_HOME=str(tmp_path / "home"),
            OPENAI_API_KEY="unused",
            OPENAI_BASE_URL=provider.base_url,
        )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if is_durable(page)], ids=page_name)
def test_python_of_a_page_on_durable_runs_runs(page, tmp_path, platform):
    finished = run_page(page, tmp_path, **platform.variables, OPENAI_BASE_URL=platform.provider.base_url)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_the_tutorial_up_to_its_server_does_what_it_shows(tmp_path):
    text = TUTORIAL.read_text(encoding="utf-8").partition("\n## 6.")[0]
    lines = [line.strip() for line in text.splitlines() if re.match(r"    dspex (compile|predict|eval) ", line)]
    with FakeProviderProcess() as provider:
        variables = {
            "DSPEX_HOME": str(tmp_path / "home"),
            "OPENAI_API_KEY": "unused",
            "OPENAI_BASE_URL": provider.base_url,
        }
        (tmp_path / "examples").symlink_to(ROOT / "examples")
        for line in lines:
            finished = subprocess.run(
                [sys.executable, "-m", "dspex", *shlex.split(line)[1:]],
                env={**os.environ, **variables},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert finished.returncode == 0, finished.stderr
            # How long it took is another matter on every machine.
            shown = [said for said in finished.stdout.splitlines() if not said.startswith("took ")]
            assert all(f"    {said}\n" in text for said in shown), finished.stdout
        (tmp_path / "examples").unlink()
        finished = run_page(TUTORIAL, tmp_path, **variables)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("line", list(command_lines()))
def test_a_command_line_shown_is_one_that_the_program_takes(line):
    words = [word for word in shlex.split(line, comments=True)[1:] if word not in ("|", "…")]
    named = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
    if named == ("runs",) or words == ["--help"]:
        return
    assert named in COMMANDS, f"there is no command {' '.join(named)}"
    known = {flag for option in COMMANDS[named] for flag in (*option.opts, *option.secondary_opts)}
    for word in words[len(named) :]:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in known, f"{' '.join(named)} has no {word}"


@pytest.mark.parametrize("words", list(COMMANDS), ids=" ".join)
def test_every_command_and_option_is_on_the_command_line_page(words):
    sections = re.split(r"^## ", (ROOT / "docs/cli.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    section = next((section for section in sections if section.startswith(f"dspex {words[0]}\n")), "")
    assert words[-1] in section
    missing = [
        option.name
        for option in COMMANDS[words]
        if option.name != "help" and not any(flag in section for flag in option.opts)
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_relative_links_of_a_page_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_make_targets_that_a_page_names_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {match[1] for code in code_of(page) if (match := re.match(r"make ([a-z-]+)", code))}
    assert named <= targets


def test_every_error_is_on_the_page_of_errors():
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    names = [name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_option_of_every_optimizer_is_on_their_page():
    page = (ROOT / "docs/optimizers.md").read_text(encoding="utf-8") + (ROOT / "docs/fine-tuning.md").read_text("utf-8")
    found = (getattr(optimizers, name) for name in optimizers.__all__)
    options = {name for kind in found for name in getattr(kind, "model_fields", {}) if hasattr(kind, "compile")}
    # What BetterTogether takes by position has names of its own.
    assert {name for name in options - {"optimizers"} if not re.search(rf"`{name}[`=]", page)} == set()


def test_every_field_of_a_run_is_on_the_page_of_the_command_line():
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    status = RunStatus(id="x", status="queued", optimizer="mipro_v2")
    assert [name for name in run_document(status) if not re.search(rf'["`]{name}["`]', page)] == []


def test_every_variable_of_ours_is_in_the_readme():
    rooms = ("dspex_core", "dspex", "workflows", "activities")
    sources = [path.read_text(encoding="utf-8") for room in rooms for path in (ROOT / room).rglob("*.py")]
    variables = {name for source in sources for name in re.findall(r"\bDSPEX_[A-Z_]+[A-Z]\b", source)}
    readme = README.read_text(encoding="utf-8")
    assert {name for name in variables if f"`{name}`" not in readme} == set()
