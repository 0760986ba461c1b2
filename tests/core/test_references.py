import hashlib
import os
import pathlib
import re
import sys

import pytest

from dspex_core.errors import ProgramError, TrustError
from dspex_core.references import CodeReference, import_code, importing_nothing, reference_to

SOURCE = "class Outer:\n    def inner(self):\n        pass\n\ndef judge():\n    pass\n"


@pytest.fixture
def their_code(tmp_path, monkeypatch):
    folder = tmp_path / "their_code"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "judges.py").write_text(SOURCE)
    (folder / "broken.py").write_text("raise RuntimeError('not today')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("their_code")]:
        monkeypatch.delitem(sys.modules, name)
    import their_code.judges

    return their_code.judges


def test_a_reference_holds_the_path_and_the_digest_of_the_source(their_code):
    reference = reference_to(their_code.judge, what="metric")
    assert reference.path == "their_code.judges:judge"
    assert reference.source_digest == hashlib.sha256(SOURCE.encode()).hexdigest()
    assert reference_to("their_code.judges:judge", what="metric") == reference


@pytest.mark.parametrize("path", ["their_code.judges:judge", "their_code.judges:Outer.inner"])
def test_what_a_reference_names_is_imported(their_code, path):
    found = import_code(reference_to(path, what="metric"), trust=["their_code"], what="metric")
    assert found.__qualname__ == path.partition(":")[2]


@pytest.mark.parametrize("trusted", [["their_code"], ["their_code.judges"], None])
def test_trust_may_be_in_a_package_or_in_a_module(their_code, trusted):
    assert import_code(CodeReference(path="their_code.judges:judge"), trust=trusted, what="metric")


@pytest.mark.parametrize("trusted", [[], ["their"], ["their_code.broken"], ["judges"]])
def test_nothing_else_is_imported(their_code, trusted):
    with pytest.raises(TrustError, match="does not trust the package 'their_code'"):
        import_code(CodeReference(path="their_code.judges:judge"), trust=trusted, what="metric")


def test_trust_is_checked_before_anything_is_imported(their_code):
    with pytest.raises(TrustError):
        import_code(CodeReference(path="their_code.broken:x"), trust=[], what="metric")


def test_other_source_than_that_of_the_reference_is_refused(their_code):
    changed = CodeReference(path="their_code.judges:judge", source_digest="0" * 64)
    with pytest.raises(TrustError, match=r"the metric their_code\.judges:judge differs"):
        import_code(changed, trust=["their_code"], what="metric")


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("judge", "write package.module:attribute"),
        (":judge", "write package.module:attribute"),
        ("their_code.judges:", "write package.module:attribute"),
        ("their_code.none:judge", "cannot be imported: No module named 'their_code.none'"),
        ("their_code.judges:none", "cannot be imported"),
        ("their_code.broken:judge", "its module failed to import: RuntimeError: not today"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ended(their_code, path, complaint):
    with pytest.raises(ProgramError) as caught:
        import_code(CodeReference(path=path), trust=None, what="metric")
    assert complaint in str(caught.value)
    assert path in str(caught.value)


def test_a_name_that_another_object_has_taken_is_refused(their_code):
    old = their_code.judge
    their_code.judge = lambda: None
    with pytest.raises(ProgramError, match="another one has taken its name"):
        reference_to(old, what="metric")


def test_what_a_script_defines_cannot_be_imported_elsewhere(their_code):
    their_code.judge.__module__ = "__main__"
    with pytest.raises(ProgramError, match=r"the metric .?judge.? cannot be imported by a worker"):
        reference_to(their_code.judge, what="metric")


@pytest.mark.parametrize(
    "path",
    [
        "their_code.judges:system",
        "their_code.judges:os.system",
        "their_code.judges:os.path.join",
        "their_code.judges:judge.__globals__",
        "their_code.judges:__loader__.get_data",
        "their_code.judges:folder.unlink",
    ],
)
def test_to_trust_a_module_is_not_to_trust_what_it_imports(their_code, path):
    their_code.os, their_code.system, their_code.folder = os, os.system, pathlib.Path()
    reference = CodeReference(path=path)
    assert import_code(reference, trust=None, what="tool")
    with pytest.raises(TrustError, match=r"only code of their_code itself may be used"):
        import_code(reference, trust=["their_code"], what="tool")


def test_a_trusted_module_may_name_objects_of_any_class_and_code_of_its_own_package(their_code):
    their_code.pattern = pattern = re.compile("x")
    sys.modules["their_code"].judge = their_code.judge
    assert import_code(CodeReference(path="their_code.judges:pattern"), trust=["their_code"], what="tool") is pattern
    assert import_code(CodeReference(path="their_code:judge"), trust=["their_code"], what="tool") is their_code.judge


def test_in_ones_own_process_code_may_have_changed_since(their_code):
    changed = CodeReference(path="their_code.judges:judge", source_digest="0" * 64)
    assert import_code(changed, trust=None, what="metric") is their_code.judge


def test_where_nothing_may_be_imported_that_holds_for_trusted_code_as_well(their_code):
    reference = reference_to(their_code.judge, what="metric")
    for trust in (None, ["their_code"]):
        with importing_nothing(), pytest.raises(TrustError, match="is not imported in a workflow"):
            import_code(reference, trust=trust, what="metric")
    assert import_code(reference, trust=["their_code"], what="metric") is their_code.judge
