"""Every public name says what it is and shows how it is used, and what it shows runs."""

import ast
import asyncio
import importlib
import inspect
import re
from types import ModuleType
from typing import Literal

import pytest
from temporalio.client import Client as TemporalClient
from temporalio.worker import Worker

import dspex
import dspex_core
import dspex_core.optimizers
from dspex_core import ChainOfThought, Example, Predict, Prediction, using
from dspex_core.retrieval import Embedder, Passage
from dspex_core.testing import FakeProvider

FACADES = ("dspex_core", "dspex_core.optimizers", "dspex")
SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):")
ROWS = (("I was charged twice", "billing"), ("it crashes at once", "bug"), ("a refund, please", "billing"))
# For examples whose answers are no plain text; all else the fake provider's own model answers.
SCRIPT = (
    {"when": "next_tool_name", "answer": {"next_thought": "Done.", "next_tool_name": "finish", "next_tool_args": "{}"}},
    {"when": "Ada wrote to Charles", "answer": {"people": '["Ada", "Charles"]'}},
    {"when": ("primes", "[[ ## answer ## ]]"), "answer": {"answer": "25"}},
)
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20


def public():
    """Every class, function and module that a façade promises; a plain value cannot hold a docstring."""
    for facade in FACADES:
        module = importlib.import_module(facade)
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, (type, ModuleType)) or inspect.isroutine(value):
                yield pytest.param(value, id=f"{facade}.{name}")


PUBLIC = list(public())


def examples(value):
    """The indented blocks of a docstring that belong to no section."""
    block, blocks, in_section = [], [], False
    for line in [*(inspect.getdoc(value) or "").splitlines(), "the end"]:
        if line.startswith("    ") and not in_section:
            block.append(line[4:])
        elif block and not line.strip():
            block.append("")
        elif line.strip() and not line.startswith("    "):
            in_section = SECTION.fullmatch(line) is not None
            if block:
                blocks.append("\n".join(block))
                block = []
    return blocks


def is_durable(parameter):
    return parameter.id.startswith("dspex.")


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    (tmp_path / "cat.png").write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", "unused")


def namespace(lm):
    """What examples take for granted: every public name, and the things that they are about."""
    rows = [Example(text=text, team=team).with_inputs("text") for text, team in ROWS]
    names = {"Literal": Literal, "lm": lm, "trainset": rows, "valset": rows, "devset": rows, "text": rows[0].text}
    for facade in FACADES:
        module = importlib.import_module(facade)
        names |= {name: getattr(module, name) for name in module.__all__}
    return names | {
        "program": Predict("text -> team: Literal['billing', 'bug']"),
        "triage": Predict("text -> team: Literal['billing', 'bug']"),
        "summarize": Predict("text -> summary"),
        "classify": ChainOfThought("text -> topic"),
        "first": Prediction(reasoning="Brussels is its seat of government.", answer="Brussels"),
        "second": Prediction(reasoning="Antwerp is larger.", answer="Antwerp"),
        "search": search,
        "calculator": calculator,
        "index": Shelf(),
        "response": Response(),
        "Worker": Worker,
        "Embedder": Embedder,
    }


def search(query: str) -> str:
    """Find something."""
    return f"nothing about {query}"


def calculator(expression: str) -> str:
    """Calculate something."""
    return f"{expression} is beyond me"


class Shelf:
    async def search(self, query, k):
        return [Passage(text="Brussels is the capital of Belgium.", score=1.0)][:k]


class Response:
    content = PNG


async def run(source, names):
    code = compile(source, "<docstring>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    awaited = eval(code, names)  # noqa: S307 - our own docstrings
    if awaited is not None:
        await asyncio.wait_for(awaited, timeout=20)


@pytest.mark.parametrize("value", PUBLIC)
def test_a_public_name_says_what_it_is_and_shows_how_it_is_used(value):
    assert value.__doc__
    assert examples(value)


@pytest.mark.parametrize("value", [found for found in PUBLIC if not is_durable(found)])
async def test_what_a_docstring_shows_runs(value, own_folder, background, monkeypatch):
    with background.running(FakeProvider(script=SCRIPT)) as provider:
        monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
        lm = dspex_core.LM("openai/gpt-4o-mini")
        names = namespace(lm)
        with using(lm=lm):
            for source in examples(value):
                await run(source, names)


@pytest.mark.slow
@pytest.mark.parametrize("value", [found for found in PUBLIC if is_durable(found)])
async def test_what_a_docstring_on_durable_runs_shows_runs(value, own_folder, platform):
    names = namespace(platform.lm())
    async with await dspex.Client.connect() as client:
        rows = {"trainset": names["trainset"], "valset": names["valset"]}
        optimizer = dspex_core.optimizers.LabeledFewShot(metric="exact_match")
        await client.compile(names["program"], optimizer=optimizer, lm=names["lm"], id="triage-1", resume=True, **rows)
        temporal = await TemporalClient.connect(client.server.address, namespace=client.server.namespace)
        names |= {"client": client, "temporal": temporal}
        for source in examples(value):
            await run(source, names)
