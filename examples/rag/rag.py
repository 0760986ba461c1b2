"""Compile a program that looks things up in Python's own docstrings: python rag.py --lm openai/gpt-4o-mini."""

import argparse
import ast
import asyncio
import random
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dspex_core import LM, ChainOfThought, Evaluate, Example, InputField, OutputField, Retrieve, Signature, using
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.retrieval import BM25Index

LIBRARY = Path(sysconfig.get_path("stdlib"))
MODULES = (
    "argparse", "calendar", "configparser", "csv", "difflib", "fractions", "ftplib", "inspect", "mailbox", "pathlib",
    "random", "shutil", "statistics", "subprocess", "tarfile", "threading", "turtle", "zipfile",
)  # fmt: skip
ASKED_EACH = 10


class WhichModule(Signature):
    """Name the module of Python's standard library that does what is asked for."""

    context: list[str] = InputField(desc="what the library's docstrings say")
    question: str = InputField(desc="what a function or class does")
    module: Literal[MODULES] = OutputField()  # pyright: ignore[reportInvalidTypeForm] - Literal of a tuple of names


def docstrings(module: str) -> Iterator[str]:
    """First paragraphs of the docstrings of a module's public classes, functions and methods. Nothing is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse((LIBRARY / f"{module}.py").read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            paragraph = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            if len(paragraph) > 40:  # noqa: PLR2004 - shorter ones say too little
                yield paragraph


def corpus_and_questions(seed: int = 0) -> tuple[list[dict[str, str]], list[Example]]:
    """Passages to look things up in, and questions made of docstrings that are not among them."""
    rng = random.Random(seed)  # noqa: S311 - no secret depends on it
    passages: list[dict[str, str]] = []
    questions: list[Example] = []
    for module in MODULES:
        texts = sorted(set(docstrings(module)))
        rng.shuffle(texts)
        asked = (Example(question=text, module=module) for text in texts[:ASKED_EACH])
        questions += [example.with_inputs("question") for example in asked]
        passages += [{"text": f"{module}: {text}", "module": module} for text in texts[ASKED_EACH:]]
    rng.shuffle(questions)
    return passages, questions


async def main(lm: LM, output: Path) -> None:
    passages, questions = corpus_and_questions()
    half, quarter = len(questions) // 2, len(questions) // 4
    train, dev, test = questions[:half], questions[half : half + quarter], questions[half + quarter :]
    program = Retrieve(k=5) | ChainOfThought(WhichModule)
    with using(lm=lm, retriever=BM25Index(passages)):
        evaluate = Evaluate(test, "exact_match", concurrency=16)
        before = await evaluate(program)
        optimizer = BootstrapFewShot(metric="exact_match", max_bootstrapped_demos=32, max_labeled_demos=64)
        best = await optimizer.compile(program, trainset=train, valset=dev)
        after = await evaluate(best.program)
    best.program.save(output)
    print(f"{len(passages)} passages; {len(train)} questions to learn from, {len(dev)} to choose by")
    print(f"{before.score:.1f} % -> {after.score:.1f} % on {len(test)} other questions; saved {output}")
    return before.score, after.score


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lm", default="openai/gpt-4o-mini", help="provider/model; its key comes from the environment")
    parser.add_argument("--api-base", help="any server that speaks OpenAI's API; default: the provider's own")
    parser.add_argument("-o", "--output", type=Path, default=Path("rag.json"), help="where the program is saved")
    options = parser.parse_args()
    asyncio.run(main(LM(options.lm, api_base=options.api_base), options.output))
