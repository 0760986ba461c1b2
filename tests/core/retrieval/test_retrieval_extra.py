import subprocess
import sys

import pytest

from dspex_core.errors import ConfigurationError
from dspex_core.retrieval import BM25Index, Embedder, QdrantIndex


@pytest.mark.parametrize(
    ("library", "make"),
    [
        ("bm25s", lambda: BM25Index(["a text"])),
        ("bm25s", lambda: BM25Index.load("nowhere")),
        ("numpy", Embedder),
        ("qdrant_client", lambda: QdrantIndex("docs", embedder=object())),
    ],
)
def test_what_is_not_installed_is_named_with_what_to_install(monkeypatch, library, make):
    monkeypatch.setattr("dspex_core.retrieval._extra.find_spec", lambda name: None if name == library else name)
    with pytest.raises(ConfigurationError, match=rf"needs {library}; run: pip install 'dspex\[retrieval\]'"):
        make()


def test_importing_retrieval_imports_none_of_its_libraries():
    script = "import sys, dspex_core.retrieval, dspex_core.runtime; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"bm25s", "numpy", "qdrant_client", "openai"} & set(ended.stdout.split())
