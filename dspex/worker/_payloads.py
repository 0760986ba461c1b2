import hashlib
from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    ExternalStorage,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from dspex.encryption import EncryptionCodec, ReadablePayloadConverter, SealedFailureConverter
from dspex.worker._outages import OUTAGE_SECONDS, Outages, parking
from dspex_core.artifacts import ArtifactStore, Keyring
from dspex_core.errors import ArtifactError

LARGEST_INLINE_BYTES = 16 * 1024
"""Larger payloads are artifacts; a history holds their digests, and stays small whatever the demos' size."""


class ArtifactDriver(StorageDriver):
    """Keeps large payloads in the artifact store, by content.

    Args:
        store: The store.
        outage_seconds: How long it may fail before a run is parked.
    """

    def __init__(self, store: ArtifactStore, *, outage_seconds: float = OUTAGE_SECONDS) -> None:
        self._store = store
        self._outages = Outages(outage_seconds)

    def name(self) -> str:
        """The name that references in histories carry."""
        return "dspex-artifacts"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Keep payloads; the claim is the digest."""
        return [StorageDriverClaim(claim_data={"digest": await self._put(payload)}) for payload in payloads]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Payloads kept earlier."""
        return [await self._get(claim.claim_data["digest"]) for claim in claims]

    async def _put(self, payload: Payload) -> str:
        content = payload.SerializeToString()
        digest = hashlib.sha256(content).hexdigest()
        try:
            await self._store.put(content)
        except ArtifactError as error:
            raise self._outages.failed(digest, error) from None
        self._outages.over(digest)
        return digest

    async def _get(self, digest: str) -> Payload:
        try:
            content = await self._store.get(digest)
        except ArtifactError as error:
            raise self._outages.failed(digest, error) from None
        self._outages.over(digest)
        return Payload.FromString(content)


def data_converter(
    store: ArtifactStore, keyring: Keyring | None = None, *, outage_seconds: float = OUTAGE_SECONDS
) -> DataConverter:
    """Pydantic values as JSON, large ones as artifacts; with keys, these and the texts of failures are encrypted."""
    # The SDK encrypts first and stores then: what it keeps in the store is encrypted too.
    return DataConverter(
        payload_converter_class=ReadablePayloadConverter,
        payload_codec=EncryptionCodec(keyring),
        failure_converter_class=parking(DefaultFailureConverter if keyring is None else SealedFailureConverter),
        external_storage=ExternalStorage(
            drivers=[ArtifactDriver(store, outage_seconds=outage_seconds)], payload_size_threshold=LARGEST_INLINE_BYTES
        ),
    )
