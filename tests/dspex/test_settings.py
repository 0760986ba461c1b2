import logging
from pathlib import Path

import pytest

from dspex import settings
from dspex_core.errors import UnknownNameError


def test_home_is_the_folder_named_by_dspex_home_and_is_made(monkeypatch, tmp_path):
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "a" / "b"))
    assert settings.home() == tmp_path / "a" / "b"
    assert settings.home().is_dir()


def test_home_is_the_platforms_user_data_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("DSPEX_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert settings.home().is_relative_to(tmp_path)
    assert settings.home().name == "dspex"


def test_artifacts_lie_in_home_unless_a_url_is_given(monkeypatch, tmp_path):
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path))
    monkeypatch.delenv("DSPEX_ARTIFACTS", raising=False)
    assert settings.artifacts_url() == Path(tmp_path / "artifacts").as_uri()
    monkeypatch.setenv("DSPEX_ARTIFACTS", "s3://bucket/prefix")
    assert settings.artifacts_url() == "s3://bucket/prefix"


def test_the_task_queue_follows_the_environment(monkeypatch):
    monkeypatch.delenv("DSPEX_TASK_QUEUE", raising=False)
    assert settings.task_queue() == "dspex"
    monkeypatch.setenv("DSPEX_TASK_QUEUE", "team-a")
    assert settings.task_queue() == "team-a"


def test_the_log_level_follows_the_environment_in_any_case(monkeypatch):
    monkeypatch.delenv("DSPEX_LOG_LEVEL", raising=False)
    assert settings.log_level() == logging.WARNING
    monkeypatch.setenv("DSPEX_LOG_LEVEL", "debug")
    assert settings.log_level() == logging.DEBUG


def test_an_unknown_log_level_is_named_with_those_there_are(monkeypatch):
    monkeypatch.setenv("DSPEX_LOG_LEVEL", "loud")
    with pytest.raises(UnknownNameError, match=r"DSPEX_LOG_LEVEL 'loud': .*DEBUG"):
        settings.log_level()


def test_trusted_addresses_have_commas_or_blanks_between_them(monkeypatch):
    monkeypatch.delenv("DSPEX_TRUSTED_API_BASES", raising=False)
    assert settings.trusted_api_bases() == ()
    monkeypatch.setenv("DSPEX_TRUSTED_API_BASES", " https://a.example/v1,http://b:8000\nhttp://c ")
    assert settings.trusted_api_bases() == ("https://a.example/v1", "http://b:8000", "http://c")
