import hashlib
import os
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from dspex_core.artifacts._keyring import Keyring, is_sealed, without_keys
from dspex_core.artifacts._trouble import is_absent, reason, trouble
from dspex_core.errors import ArtifactError, ArtifactMissingError, ConfigurationError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_NAMED = "named/"
"""Where what goes by a name is; everything else goes by its digest."""
_DIGEST_BYTES = hashlib.sha256().digest_size
_PATH = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})|named/([0-9a-f]{64})/.+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[0-9a-f]{64}(/[A-Za-z0-9-]+)*")
_A_LITTLE = b"dspex: can this be written?\n" * 600
_CLOCK = b"dspex: what time is it?"

TRIES_OF_A_REQUEST = 5
RETRY_TIME, CONNECT_TIME, REQUEST_TIME = timedelta(seconds=20), timedelta(seconds=5), timedelta(seconds=60)


@dataclass(frozen=True)
class StoredArtifact:
    """What a store tells of an artifact without reading it; `written` is by the store's own clock.

    For what goes by a name, `digest` is the first part of the name.
    """

    path: str
    digest: str
    size_bytes: int
    written: datetime

    @property
    def name(self) -> str | None:
        """The name it goes by; None if it goes by its digest."""
        return self.path.removeprefix(_NAMED) if self.path.startswith(_NAMED) else None


class ArtifactStore:
    """Bytes by their SHA-256: written once, the same for every process, checked when read. A few go by a name.

        store = ArtifactStore("s3://my-bucket/dspex")
        assert await store.get(await store.put(b"rows")) == b"rows"

    Args:
        url: A folder (`file:///…`), or s3://, gs:// or az:// for workers on several machines. Its credentials come from
            the environment, such as AWS_ACCESS_KEY_ID, or from the machine's role.
        keyring: Keys that artifacts are encrypted with; their names stay digests of what is in them.

    Raises:
        ConfigurationError: If there is no store at that URL.
    """

    def __init__(self, url: str, *, keyring: Keyring | None = None) -> None:
        self._url = url
        self._keyring = keyring
        self._folder = _folder(url)
        self._store = _open(url)

    async def put(self, content: bytes) -> str:
        """Keep bytes. They are stored when this returns.

        Returns:
            Their digest, 64 hexadecimal digits.

        Raises:
            ArtifactError: If the store cannot be written to.
        """
        digest = hashlib.sha256(content).hexdigest()
        try:
            await self._store.put_async(_path(digest), self._keyring.seal(content) if self._keyring else content)
        except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
            raise self._unusable("write to", error) from None
        return digest

    async def check_writable(self) -> None:
        """See whether some ten kilobytes can be kept; they are the same each time.

        Raises:
            ArtifactError: If not.
        """
        await self.put(_A_LITTLE)

    async def get(self, digest: str) -> bytes:
        """Bytes kept earlier.

        Raises:
            ArtifactMissingError: If there are none, or they are not what the digest says.
            EncryptionError: If they are encrypted with a key that is not here.
            ArtifactError: If the store cannot be read.
        """
        path = _path(digest)
        try:
            content = bytes(await (await self._store.get_async(path)).bytes_async())
        except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
            if is_absent(error) and self._is_there():
                raise ArtifactMissingError(
                    f"artifact {digest} is not in {self._url}: do client and workers share one DSPEX_ARTIFACTS?"
                ) from None
            raise self._unusable("read from", error) from None
        if hashlib.sha256(content).hexdigest() == digest:
            return content
        if is_sealed(content):
            content = self._opened(content)
        if hashlib.sha256(content).hexdigest() != digest:
            raise ArtifactMissingError(
                f"artifact {digest} in {self._url} has been altered: put back what was there, or delete it and start "
                "the run again"
            )
        return content

    async def stored(self) -> AsyncGenerator[StoredArtifact]:
        """All artifacts, in no order. What else lies in the store is passed over.

        Raises:
            ArtifactError: If the store cannot be read.
        """
        try:
            async for found in self._store.list():  # pyright: ignore[reportUnknownMemberType] - an overload is untyped
                for meta in found:
                    path = meta["path"]
                    if name := _PATH.fullmatch(path):
                        yield StoredArtifact(path, name[2] or name[3], meta["size"], meta["last_modified"])
        except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
            raise self._unusable("read from", error) from None

    async def now(self) -> datetime:
        """The time by the clock that the times of artifacts are of; for that, something is written for a moment.

        Raises:
            ArtifactError: If the store cannot be used.
        """
        digest = await self.put(_CLOCK)
        try:
            now = (await self._store.head_async(_path(digest)))["last_modified"]
            await self._store.delete_async(_path(digest))
        except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
            raise self._unusable("remove from", error) from None
        return now

    async def remove(self, artifact: StoredArtifact, *, unless_since: datetime) -> bool:
        """Remove an artifact, unless it was written, perhaps once more, at this time or later.

        Returns:
            Whether it was removed.

        Raises:
            ArtifactError: If the store does not let it be removed.
        """
        try:
            if (await self._store.head_async(artifact.path))["last_modified"] >= unless_since:
                return False
            await self._store.delete_async(artifact.path)
        except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
            if is_absent(error):
                return False
            raise self._unusable("remove from", error) from None
        return True

    async def keep(self, name: str, content: bytes) -> None:
        """Keep bytes under a name, in place of those that had it. They are stored when this returns.

        Args:
            name: Parts with slashes between them, of letters, digits and dashes; the first is a digest, by which those
                that refer to it know it.
            content: The bytes.

        Raises:
            ArtifactMissingError: If that is no name.
            ArtifactError: If the store cannot be written to.
        """
        marked, path = hashlib.sha256(content).digest() + content, _named_path(name)
        try:
            await self._store.put_async(path, self._keyring.seal(marked) if self._keyring else marked)
        except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
            raise self._unusable("write to", error) from None

    async def kept(self, name: str) -> bytes | None:
        """Bytes kept under a name; None if there are none, or they are damaged.

        Raises:
            EncryptionError: If they are encrypted with a key that is not here.
            ArtifactMissingError: If that is no name.
            ArtifactError: If the store cannot be read.
        """
        path = _named_path(name)
        try:
            marked = bytes(await (await self._store.get_async(path)).bytes_async())
        except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
            if is_absent(error) and self._is_there():
                return None
            raise self._unusable("read from", error) from None
        if is_sealed(marked):
            marked = self._opened(marked)
        content = marked[_DIGEST_BYTES:]
        return content if hashlib.sha256(content).digest() == marked[:_DIGEST_BYTES] else None

    async def names(self, folder: str) -> list[str]:
        """Names below a folder of names, in order.

        Raises:
            ArtifactError: If the store cannot be read.
        """
        found, below = list[str](), f"{_named_path(folder)}/"
        try:
            async for objects in self._store.list(below):  # pyright: ignore[reportUnknownMemberType] - as above
                found += [each["path"].removeprefix(_NAMED) for each in objects]
        except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
            if is_absent(error) and self._is_there():
                return []
            raise self._unusable("read from", error) from None
        return sorted(found)

    def _is_there(self) -> bool:
        """False if the whole folder is gone, as that of a disk that is not mounted."""
        return self._folder is None or self._folder.is_dir()

    def _unusable(self, doing: str, error: Exception) -> ArtifactError:
        return trouble(f"cannot {doing} the artifact store {self._url}", error)

    def _opened(self, sealed: bytes) -> bytes:
        if self._keyring is None:
            raise without_keys(sealed)
        return self._keyring.open(sealed)


def _open(url: str) -> "ObjectStore":
    from obstore.store import LocalStore, from_url  # noqa: PLC0415 - an I/O library, imported when a store is opened

    try:
        folder = _folder(url)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            return LocalStore(prefix=folder)
        # Retrying for longer is the caller's affair: an activity is tried again, and parked.
        retries: RetryConfig = {"max_retries": TRIES_OF_A_REQUEST - 1, "retry_timeout": RETRY_TIME}
        options: ClientConfig = {"connect_timeout": CONNECT_TIME, "timeout": REQUEST_TIME, "allow_http": _may_be_http()}
        return from_url(url, retry_config=retries, client_options=options)
    except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
        raise ConfigurationError(f"no artifact store at {url}: {reason(error)}; check DSPEX_ARTIFACTS") from None


def _folder(url: str) -> Path | None:
    return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None


def _may_be_http() -> bool:
    """Whether somebody named a server of their own by an address without TLS."""
    return any(os.environ.get(f"AWS_ENDPOINT_URL{kind}", "").startswith("http://") for kind in ("", "_S3"))


def _path(digest: str) -> str:
    # It may come from whoever starts a run, and must not lead out of the store.
    if not _DIGEST.fullmatch(digest):
        raise ArtifactMissingError(f"{digest!r:.100} is no digest of an artifact, which has 64 hexadecimal digits")
    return f"{digest[:2]}/{digest}"


def _named_path(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ArtifactMissingError(f"{name!r:.100} is no name in an artifact store: a digest, and parts after slashes")
    return _NAMED + name
