import asyncio
import re

from google.protobuf.message import DecodeError, Message
from temporalio.api.common.v1 import Payload

from dspex.encryption import PayloadReader, payloads_in
from dspex_core.artifacts import ArtifactStore, blocks_of
from dspex_core.errors import ArtifactMissingError

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_READS = 16


class Reached:
    """The artifacts that messages of a Temporal server refer to, and those that these refer to.

    Whatever reads like a digest counts as one, wherever it stands: too much may be kept, and too little never is.

    Args:
        store: Where artifacts are.
        reader: Makes encrypted payloads readable.
    """

    def __init__(self, store: ArtifactStore, reader: PayloadReader) -> None:
        self._store = store
        self._reader = reader
        self._reads = asyncio.Semaphore(_READS)
        self.digests: set[str] = set()

    async def follow(self, message: Message) -> None:
        """Take in what a message refers to, such as an event of a history.

        Raises:
            EncryptionError: If a payload or an artifact is encrypted with a key that is not here.
            ArtifactError: If the store cannot be read.
        """
        for payload in payloads_in(message):
            await self._follow_payload(payload)

    async def follow_kept(self, name: str) -> None:
        """Take in what an artifact that goes by a name refers to. Raises as `follow` does."""
        content = await self._store.kept(name)
        if content is not None:
            await self._follow_text(content)

    async def _follow_payload(self, payload: Payload) -> None:
        # A reference to a large payload is never encrypted itself, and the artifact behind it is followed like others.
        await self._follow_text(payload.data)
        if _is_encrypted(payload):
            await self._follow_text((await self._reader.read(payload)).data)

    async def _follow_text(self, text: bytes) -> None:
        new = {found.decode() for found in _DIGEST.findall(text)} - self.digests
        self.digests |= new
        await asyncio.gather(*map(self._follow_artifact, new))

    async def _follow_artifact(self, digest: str) -> None:
        try:
            async with self._reads:
                content = await self._store.get(digest)
        except ArtifactMissingError:
            return  # it may be the digest of anything
        blocks = blocks_of(content)
        if blocks is not None:
            # Rows are the user's, and refer to nothing; they are most of the store, too.
            self.digests.update(blocks)
        elif (payload := _large_payload(content)) is not None:
            await self._follow_payload(payload)
        else:
            await self._follow_text(content)


def _is_encrypted(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == b"binary/encrypted"


def _large_payload(content: bytes) -> Payload | None:
    """The payload that an artifact holds, if it must be decrypted to see what it refers to."""
    if b"binary/encrypted" not in content:
        return None
    try:
        payload = Payload.FromString(content)
    except DecodeError:
        return None
    return payload if _is_encrypted(payload) else None
