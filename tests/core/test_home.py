import os

import pytest

from dspex_core.errors import ConfigurationError
from dspex_core.home import home


def test_the_folder_that_is_named_is_made(monkeypatch, tmp_path):
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "a" / "b"))
    assert home() == tmp_path / "a" / "b"
    assert home().is_dir()


def test_a_tilde_is_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DSPEX_HOME", "~/kept")
    assert home() == tmp_path / "kept"


def test_without_a_name_it_is_the_platforms_user_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("DSPEX_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert tmp_path in home().parents
    assert home().name == "dspex"


def test_a_folder_that_cannot_be_made_says_what_to_do(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigurationError, match="set DSPEX_HOME to a folder you can write to"):
        home()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_says_what_to_do(monkeypatch, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "closed"))
    with pytest.raises(ConfigurationError, match="cannot write to"):
        home()
