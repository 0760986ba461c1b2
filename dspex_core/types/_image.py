import base64
import binascii
import re
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

from pydantic import SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from dspex_core.errors import FieldValueError
from dspex_core.types._base import FieldValue

MAX_BYTES = 20 * 1024 * 1024
"""Largest image taken, in bytes; providers refuse larger ones."""

_DATA_URL = re.compile(r"data:(image/[\w.+-]+);base64,", re.IGNORECASE)
_WEB_URL = re.compile(r"https?://[^\s/]+\S*", re.IGNORECASE)
_KNOWN = "PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF or HEIC"
_STARTS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
}
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic",
           b"mif1": "image/heif", b"msf1": "image/heif"}  # fmt: skip
_LONGEST_SHOWN = 80

IMAGE_PLACE = re.compile("\ue000image (\\d+)\ue001")
"""What stands for an image in text written under `shown_images`; its group is the image's index."""

_shown: ContextVar[list[str] | None] = ContextVar("dspex_shown_images", default=None)


@contextmanager
def shown_images() -> Generator[list[str]]:
    """Collect the URLs of images that are dumped in the block, and dump an `IMAGE_PLACE` for each."""
    images: list[str] = []
    token = _shown.set(images)
    try:
        yield images
    finally:
        _shown.reset(token)


class Image(FieldValue):
    """An image as a field of a signature.

        class Describe(Signature):
            '''Say what is on the picture.'''
            picture: Image = InputField()
            answer: str = OutputField()

        Image("https://example.com/cat.png")      # the provider fetches it
        Image.from_bytes(response.content)        # goes along with the call
        Image.from_file("cat.png")                # likewise

    Its kind is told by its first bytes, not by its name. A text is only ever read as a URL: a row of a data set or a
    model's answer cannot name a file to be read.

    Args:
        url: An http(s) URL, or a data URL with base64 content.

    Raises:
        FieldValueError: If it is neither, or larger than 20 MiB.
    """

    url: str

    def __init__(self, url: str | None = None, /, **data: Any) -> None:
        super().__init__(**(data if url is None else {"url": url, **data}))

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The image at an http(s) URL, which the provider fetches; or that of a data URL.

        Raises:
            FieldValueError: If it is no such URL.
        """
        return cls(url=url)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The image in a file, as a data URL.

        Raises:
            FieldValueError: If it cannot be read, is too large, or is no image of a known kind; names the file.
        """
        file = Path(path)
        try:
            size = file.stat().st_size
            content = file.read_bytes() if size <= MAX_BYTES else b""
        except OSError as error:
            raise FieldValueError(f"Image: cannot read {file}: {error.strerror}") from None
        return cls._of(content, size, None, f"the file {file}")

    @classmethod
    def from_bytes(cls, content: bytes, *, media_type: str | None = None) -> Self:
        """An image at hand, as a data URL.

        Args:
            content: The image as its file holds it.
            media_type: Such as "image/png"; by default told from the content.

        Raises:
            FieldValueError: If it is empty, too large, or of no known kind.
        """
        return cls._of(content, len(content), media_type, "the content given")

    @property
    def media_type(self) -> str | None:
        """Such as "image/png"; None for an image that is fetched from a URL."""
        found = _DATA_URL.match(self.url)
        return found[1].lower() if found else None

    @property
    def base64(self) -> str | None:
        """Content in base64; None for an image that is fetched from a URL."""
        return self.url.partition(",")[2] if self.media_type else None

    @classmethod
    def _of(cls, content: bytes, size: int, media_type: str | None, what: str) -> Self:
        if size > MAX_BYTES:
            raise FieldValueError(f"Image: {what} has {size:,} bytes, more than {MAX_BYTES:,}: make it smaller")
        if not content:
            raise FieldValueError(f"Image: {what} is empty")
        kind = media_type or _media_type_of(content)
        if kind is None:
            raise FieldValueError(
                f"Image: {what} begins with {content[:8]!r}, which no {_KNOWN} does; "
                "convert it, or say what it is with from_bytes(…, media_type=…)"
            )
        return cls(url=f"data:{kind};base64,{base64.b64encode(content).decode()}")

    @model_validator(mode="before")
    @classmethod
    def _from_url_alone(cls, given: Any) -> Any:
        return {"url": given} if isinstance(given, str) else given

    @field_validator("url")
    @classmethod
    def _checked(cls, url: str) -> str:
        if found := _DATA_URL.match(url):
            return _checked_content(url, found.end())
        if not _WEB_URL.fullmatch(url):
            raise ValueError(
                f"{_shortened(url)!r} is neither an http(s) URL nor a data URL such as data:image/png;base64,…; "
                "a file is read with Image.from_file"
            )
        return url

    @model_serializer(mode="wrap")
    def _in_place(self, dump: SerializerFunctionWrapHandler) -> Any:
        shown = _shown.get()
        if shown is None:
            return dump(self)
        shown.append(self.url)
        return f"\ue000image {len(shown) - 1}\ue001"

    def __repr__(self) -> str:
        return f"Image({_shortened(self.url)!r})"

    __str__ = __repr__


def _checked_content(url: str, start: int) -> str:
    try:
        size = len(base64.b64decode(url[start:], validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the content of {_shortened(url)!r} is not base64: {error}") from None
    if not 0 < size <= MAX_BYTES:
        raise ValueError(f"{_shortened(url)!r} holds {size:,} bytes; an image has 1 to {MAX_BYTES:,}")
    return url


def _media_type_of(content: bytes) -> str | None:
    for start, media_type in _STARTS.items():
        if content.startswith(start):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return _BRANDS.get(content[8:12]) if content[4:8] == b"ftyp" else None


def _shortened(url: str) -> str:
    return url if len(url) <= _LONGEST_SHOWN else f"{url[:_LONGEST_SHOWN]}…"
