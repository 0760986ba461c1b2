import json
import os
import socket
import subprocess
import sys

import pytest

from dspex.cli._cache import clear_cache, export_cache, import_cache, show_stats
from dspex_core.errors import CacheError, DatasetError
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


def a_file_where_the_folder_should_be(tmp_path, _):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "cache").write_text("no folder")


def a_damaged_database(tmp_path, _):
    (tmp_path / "home" / "cache").mkdir(parents=True)
    (tmp_path / "home" / "cache" / "cache.db").write_bytes(b"no database" * 1000)


def a_redis_that_is_down(_, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DSPEX_CACHE", f"redis://127.0.0.1:{free.getsockname()[1]}/0")


@pytest.mark.parametrize("spoil", [a_file_where_the_folder_should_be, a_damaged_database, a_redis_that_is_down])
def test_a_cache_that_cannot_be_used_is_said_to_be_and_no_file_is_touched(spoil, tmp_path, monkeypatch, capsys, caplog):
    spoil(tmp_path, monkeypatch)
    answers = tmp_path / "answers.jsonl"
    earlier = json.dumps({"key": KEY, "answer": {"response": {"text": "paid for"}}}) + "\n"
    answers.write_text(earlier)
    for ask in (
        lambda: export_cache(str(answers), as_json=False),
        lambda: import_cache(str(answers), as_json=False),
        lambda: clear_cache(as_json=True),
        lambda: show_stats(as_json=False),
    ):
        with pytest.raises(CacheError, match=r"the answer cache (in|at) .* cannot be used \(.*\): see that"):
            ask()
    assert answers.read_text() == earlier
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["answers.jsonl"]
    with pytest.raises(SystemExit, match="1"):
        show_stats(as_json=True)
    stats = json.loads(capsys.readouterr().out)
    assert not stats["usable"]
    assert "cannot be used" in stats["trouble"]
    assert not caplog.text


async def test_a_pipe_takes_the_answers_too(tmp_path):
    await keep("hi")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True)
    export_cache(str(pipe), as_json=True)
    assert KEY in reader.communicate()[0]
    assert pipe.is_fifo()


@pytest.mark.slow
def test_the_command_line_has_it_and_ends_as_others_do(tmp_path):
    def dspex(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "dspex", "cache", *arguments], capture_output=True, text=True, check=False
        )

    assert json.loads(dspex("stats", "--json").stdout)["entries"] == 0
    wrong = dspex("import", str(tmp_path / "nowhere.jsonl"))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
