import json
import subprocess
import sys

import pytest

from dspex.cli._cache import clear_cache, export_cache, import_cache, show_stats
from dspex_core.errors import DatasetError
from dspex_core.lm import ResponseCache
from dspex_core.lm._cache import CachedAnswer
from dspex_core.seam import LMResponse

KEY = "a" * 64


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DSPEX_CACHE", raising=False)


async def keep(text):
    await ResponseCache().put(KEY, CachedAnswer(response=LMResponse(text=text)))


async def test_the_cache_is_described_in_one_line_and_in_json(capsys, tmp_path):
    await keep("hi")
    show_stats(as_json=False)
    line = capsys.readouterr().out
    assert line.startswith(str(tmp_path / "home" / "cache"))
    assert "1 answers" in line
    show_stats(as_json=True)
    stats = json.loads(capsys.readouterr().out)
    assert (stats["entries"], stats["usable"], stats["limit_bytes"]) == (1, True, 8 * 1024**3)


async def test_answers_go_to_a_file_and_come_back(capsys, tmp_path):
    await keep("hi")
    file = str(tmp_path / "answers.jsonl")
    export_cache(file, as_json=True)
    clear_cache(as_json=True)
    assert await ResponseCache().get(KEY) is None
    import_cache(file, as_json=True)
    assert (await ResponseCache().get(KEY)).response.text == "hi"
    import_cache(file, as_json=False)
    out = capsys.readouterr().out
    assert '"exported": 1' in out
    assert '"cleared": 1' in out
    assert '"imported": 1' in out
    assert "0 answers taken in" in out


def test_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere\.jsonl"):
        import_cache(str(tmp_path / "nowhere.jsonl"), as_json=False)
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match="UTF-8"):
        import_cache(str(wrong), as_json=False)
    wrong.write_text("\n{}\n")
    with pytest.raises(DatasetError, match=r"wrong\.jsonl, line 2"):
        import_cache(str(wrong), as_json=False)
    with pytest.raises(DatasetError, match="cannot write"):
        export_cache(str(tmp_path / "no folder" / "x.jsonl"), as_json=False)


@pytest.mark.slow
def test_the_command_line_has_it_and_ends_as_others_do(tmp_path):
    def dspex(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "dspex", "cache", *arguments], capture_output=True, text=True, check=False
        )

    assert json.loads(dspex("stats", "--json").stdout)["entries"] == 0
    wrong = dspex("import", str(tmp_path / "nowhere.jsonl"))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
