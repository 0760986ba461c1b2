import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dspex_core.testing import FakeProviderProcess

RAG = Path(__file__).parents[2] / "examples/rag/rag.py"


@pytest.mark.slow
def test_compiling_makes_the_program_that_looks_things_up_better(tmp_path):
    with FakeProviderProcess() as provider:
        ended = subprocess.run(
            [sys.executable, "-W", "error", str(RAG), "--lm", "openai/fake", "--api-base", provider.base_url],
            env={**os.environ, "DSPEX_HOME": str(tmp_path / "home"), "OPENAI_API_KEY": "unused"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    scores = re.search(r"([\d.]+) % -> ([\d.]+) % on (\d+) other questions", ended.stdout)
    assert scores is not None, ended.stdout
    assert float(scores[2]) > float(scores[1])
    assert int(scores[3]) > 30
    assert (tmp_path / "rag.json").is_file()
