import pytest

from dspex_core.redaction import keep_secret, redacted


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "ACME_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
    ],
)
def test_a_key_of_the_environment_is_never_shown(monkeypatch, name):
    monkeypatch.setenv(name, "sk-in-the-environment")
    assert redacted("got sk-in-the-environment, twice sk-in-the-environment") == "got [key], twice [key]"


def test_a_key_given_in_code_is_never_shown():
    keep_secret("sk-kept-by-a-test")
    assert redacted("Bearer sk-kept-by-a-test") == "Bearer [key]"


def test_a_key_that_begins_with_another_is_hidden_whole(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-short")
    monkeypatch.setenv("OTHER_API_KEY", "sk-short-and-longer")
    assert redacted("sk-short-and-longer") == "[key]"


def test_what_is_too_short_to_be_a_key_leaves_texts_readable(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    keep_secret("a")
    assert redacted("an example") == "an example"
