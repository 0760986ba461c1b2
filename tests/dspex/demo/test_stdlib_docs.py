import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from dspex.demo import AREAS, DemoData, stdlib_descriptions
from dspex.demo._docstrings import Documented, documented_in_builtin, documented_in_sources
from dspex.demo._stdlib_docs import all_descriptions, describe
from dspex_core.errors import ConfigurationError

pytestmark = pytest.mark.slow  # reading the standard library's sources takes seconds


@pytest.fixture(scope="module")
def data():
    return stdlib_descriptions()


def parts(data):
    return [data.train, data.dev, data.test]


def test_the_parts_have_the_sizes_asked_for(data):
    assert [len(part) for part in parts(data)] == [300, 200, 300]
    assert [len(part) for part in parts(stdlib_descriptions(train=20, dev=0, test=7))] == [20, 0, 7]


def test_each_area_is_in_each_part_about_as_often_as_the_others(data):
    for part in parts(data):
        counts = Counter(row["area"] for row in part)
        assert sorted(counts) == list(AREAS)
        assert max(counts.values()) <= 2 * min(counts.values())


def test_a_row_is_a_line_of_40_to_400_characters_and_its_area(data):
    for row in [row for part in parts(data) for row in part]:
        assert sorted(row) == ["area", "description"]
        assert 40 <= len(row["description"]) <= 400
        assert row["description"] == " ".join(row["description"].split())


def test_no_description_is_there_twice():
    descriptions = [text for texts in all_descriptions().values() for text in texts]
    assert len(descriptions) == len(set(descriptions))


def test_there_are_many_more_rows_than_are_sampled():
    counts = {area: len(texts) for area, texts in all_descriptions().items()}
    assert sum(counts.values()) >= 1500
    assert min(counts.values()) >= 60


def test_asking_for_more_than_there_is_gives_all_of_it_in_the_same_proportions():
    available = sum(len(texts) for texts in all_descriptions().values())
    sizes = [len(part) for part in parts(stdlib_descriptions(train=30_000, dev=10_000, test=10_000))]
    assert sum(sizes) == available
    assert sizes[0] == pytest.approx(0.6 * available, abs=1)


def test_another_seed_gives_other_rows(data):
    assert stdlib_descriptions(seed=1) != data
    assert stdlib_descriptions(seed=0) == data


def test_every_process_gets_the_same_rows(data):
    program = "from dspex.demo import stdlib_descriptions; print(stdlib_descriptions())"
    for hash_seed in ("1", "2"):
        finished = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            check=True,
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONUTF8": "1"},
        )
        assert finished.stdout.strip() == repr(data)
        assert finished.stderr == ""


@pytest.mark.parametrize("module", ["pathlib", "http", "json", "calendar", "_pydecimal", "threading"])
def test_the_own_names_do_not_appear_in_a_row(module):
    described = [(item.names, describe(item)) for item in documented_in_sources(module)]
    assert any(text for _, text in described)
    for names, text in described:
        for name in names:
            if len(name.strip("_")) > 2:
                spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.strip("_").replace("_", " "))
                for form in (name, spaced):
                    alone = rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"
                    assert not re.search(alone, text or "", re.IGNORECASE), text


@pytest.mark.parametrize(
    ("names", "docstring", "description"),
    [
        (
            ("pathlib", "Path", "read_text"),
            "Read text from the path, as pathlib.Path.read_text() does elsewhere.",
            "___ from the ___, as ___() does elsewhere.",
        ),
        (
            ("http", "client", "HTTPConnection"),
            "An HTTP connection, one of many HTTPConnections to an earthly host.",
            "An ___, one of many ___ to an earthly host.",
        ),
        (
            ("operator", "or_"),
            "Same as a or b, or what the operators give for integers.",
            "Same as a ___ b, ___ what the ___ give for integers.",
        ),
        (
            ("m", "f"),
            "f(x) -> y\n\nReturn the\n  value, from a\tvery long way away.",
            "Return the value, from a very long way away.",
        ),
        (
            ("m", "f"),
            "Too short.\n\nBut the second paragraph helps it.",
            "Too short. But the second paragraph helps it.",
        ),
        (
            ("m", "f"),
            "A paragraph that is long enough by itself.\n\nMore.",
            "A paragraph that is long enough by itself.",
        ),
        (("m", "f"), "Too short, and no more.\n\n>>> f(1)\n2", None),
    ],
)
def test_a_docstring_becomes_one_masked_line(names, docstring, description):
    assert describe(Documented(names=names, docstring=docstring)) == description


def test_a_long_docstring_ends_with_a_whole_sentence():
    sentence = "This sentence has some fifty characters in it, so."
    assert describe(Documented(names=("m",), docstring=" ".join([sentence] * 20))) == " ".join([sentence] * 7)


def test_private_names_are_left_out():
    names = [item.names[-1] for item in documented_in_sources("threading")]
    assert "Thread" in names
    assert not [name for name in names if name.startswith("_")]


def test_a_module_that_this_python_lacks_has_no_descriptions():
    assert list(documented_in_sources("no_such_module")) == []
    assert list(documented_in_builtin("no_such_module")) == []


def test_reading_the_sources_runs_none_of_them():
    program = (
        "import sys; from dspex.demo import stdlib_descriptions; stdlib_descriptions();"
        "print({'antigravity', 'mailbox', 'poplib', 'pdb', 'xmlrpc.server'} & set(sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert finished.stdout.strip() == "set()"


def test_a_python_without_its_sources_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(ConfigurationError, match="sources are not in"):
        list(documented_in_sources("json"))


def test_the_data_cannot_be_swapped_for_other_data(data):
    with pytest.raises(AttributeError):
        data.train = []
    assert isinstance(data, DemoData)
