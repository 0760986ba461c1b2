import subprocess
import sys

import pytest

HEAVY = {
    "aiohttp", "anthropic", "diskcache", "genai_prices", "httpx", "httpx2", "obstore", "openai", "optuna",
    "platformdirs", "pyarrow", "rich", "sqlite3", "structlog", "temporalio", "tenacity", "typer",
}  # fmt: skip


def imported_by(statement):
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in ended.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import dspex_core",
        "from dspex_core import Signature, InputField, OutputField, Predict, ChainOfThought, Module, Example",
        "from dspex_core import Evaluate, Score, events; from dspex_core.optimizers import BootstrapFewShot",
    ],
)
def test_writing_programs_imports_no_heavy_library(statement):
    assert not imported_by(statement) & HEAVY


def test_making_an_lm_imports_no_sdk():
    assert not imported_by("from dspex_core import LM; LM('openai/gpt-4o-mini')") & {
        "openai",
        "httpx",
        "httpx2",
        "aiohttp",
    }


def test_importing_the_core_alone_imports_no_pydantic():
    assert "pydantic" not in imported_by("import dspex_core")
