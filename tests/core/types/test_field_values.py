import base64
import os

import pytest
from pydantic import TypeAdapter

from dspex_core import History, Image, ToolCalls
from dspex_core.errors import FieldValueError, InputError
from dspex_core.signature import signature_of

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
VALUES = [
    Image("https://example.com/a.png"),
    Image(PNG_URL),
    History(messages=[{"question": "a", "scores": [1, 2.5, None]}]),
    ToolCalls(tool_calls=[{"name": "search", "args": {"query": "x", "k": 3}}, {"name": "finish"}]),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_survives_being_written_as_json(value):
    kind = TypeAdapter(type(value))
    assert kind.validate_json(kind.dump_json(value)) == value
    assert kind.validate_python(kind.dump_python(value, mode="json")) == value


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_never_changes(value):
    with pytest.raises(ValueError, match="frozen"):
        setattr(value, next(iter(type(value).model_fields)), "other")


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF89a rest", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"BM rest", "image/bmp"),
        (b"II*\0rest", "image/tiff"),
        (b"\0\0\0\x20ftypavifrest", "image/avif"),
        (b"\0\0\0\x20ftypheicrest", "image/heic"),
    ],
)
def test_the_kind_of_an_image_is_told_from_its_content_whatever_the_file_is_called(content, media_type, tmp_path):
    file = tmp_path / "picture.txt"
    file.write_bytes(content)
    image = Image.from_file(file)
    assert image == Image.from_bytes(content)
    assert image.media_type == media_type
    assert base64.b64decode(image.base64) == content


def test_an_image_of_another_kind_is_taken_when_its_kind_is_said():
    assert Image.from_bytes(b"<svg/>", media_type="image/svg+xml").media_type == "image/svg+xml"


def test_an_image_at_a_web_address_stays_there():
    image = Image.from_url("https://example.com/a.png?size=2")
    assert image.url == "https://example.com/a.png?size=2"
    assert image.media_type is None
    assert image.base64 is None


def test_a_file_that_is_no_image_is_named_in_the_error(tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("%PDF-1.7 not an image")
    with pytest.raises(FieldValueError, match=r"notes\.png begins with b'%PDF-1.7'.*PNG, JPEG"):
        Image.from_file(text)
    (tmp_path / "empty.png").touch()
    with pytest.raises(FieldValueError, match=r"empty\.png is empty"):
        Image.from_file(tmp_path / "empty.png")
    with pytest.raises(FieldValueError, match=r"absent\.png: No such file"):
        Image.from_file(tmp_path / "absent.png")
    with pytest.raises(FieldValueError, match="Is a directory"):
        Image.from_file(tmp_path)


def test_an_image_too_large_for_a_provider_is_refused_before_it_is_read(tmp_path):
    large = tmp_path / "large.png"
    large.touch()
    os.truncate(large, 20 * 1024 * 1024 + 1)
    with pytest.raises(FieldValueError, match=r"large\.png has 20,971,521 bytes, more than 20,971,520"):
        Image.from_file(large)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("cat.png", "a file is read with Image.from_file"),
        ("file:///etc/passwd", "neither an http"),
        ("https://", "neither an http"),
        ("https://example.com/a b.png", "neither an http"),
        ("data:text/plain;base64,aGk=", "neither an http"),
        ("data:image/png;base64,???", "is not base64"),
        ("data:image/png;base64,", "holds 0 bytes"),
        ("", "neither an http"),
    ],
)
def test_a_text_that_is_no_image_is_refused_and_never_read_as_a_file(url, complaint):
    with pytest.raises(FieldValueError, match=complaint):
        Image(url)
    with pytest.raises(ValueError, match=complaint):
        TypeAdapter(list[Image]).validate_python([url])


def test_a_long_image_is_shown_short():
    assert len(repr(Image.from_bytes(PNG * 1000))) < 120


def test_earlier_exchanges_grow_without_changing_the_history_that_they_are_added_to():
    before = History(messages=[{"question": "a", "answer": "b"}])
    after = before.with_exchange(question="c", answer="d")
    assert before.messages == ({"question": "a", "answer": "b"},)
    assert after.messages == ({"question": "a", "answer": "b"}, {"question": "c", "answer": "d"})


@pytest.mark.parametrize(
    "written",
    [
        {"tool_calls": [{"name": "search", "args": {"q": "x"}}]},
        [{"name": "search", "args": {"q": "x"}}],
        {"name": "search", "arguments": {"q": "x"}},
    ],
)
def test_calls_are_read_from_the_shapes_that_models_write(written):
    calls = TypeAdapter(ToolCalls).validate_python(written)
    assert calls.tool_calls == (ToolCalls.ToolCall(name="search", args={"q": "x"}),)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: History(messages="hello"), "History: messages: "),
        (lambda: History(messages=[1]), r"History: messages\.0: "),
        (lambda: History(message=[]), "History: message: "),
        (lambda: ToolCalls(tool_calls=[{"args": {}}]), r"ToolCalls: tool_calls\.0"),
        (lambda: ToolCalls.ToolCall(name="", args={}), r"ToolCalls\.ToolCall: name: "),
        (Image, "Image: url: "),
        (lambda: Image(7), "Image: url: "),
    ],
)
def test_what_does_not_fit_is_one_line_of_an_input_error(make, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_the_types_can_be_named_in_string_signatures_and_written_down():
    signature = signature_of("picture: Image, history: History, more: list[Image] -> calls: ToolCalls")
    assert [field.annotation for field in signature.model_fields.values()] == [Image, History, list[Image], ToolCalls]
    assert signature.to_spec().build().to_spec() == signature.to_spec()
