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
from dspex_core.artifacts import ArtifactStore, Keyring

LARGEST_INLINE_BYTES = 16 * 1024
"""Larger payloads are artifacts; a history holds their digests, and stays small whatever the demos' size."""


class ArtifactDriver(StorageDriver):
    """Keeps large payloads in the artifact store, by content."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def name(self) -> str:
        """The name that references in histories carry."""
        return "dspex-artifacts"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Keep payloads; the claim is the digest."""
        return [
            StorageDriverClaim(claim_data={"digest": await self._store.put(payload.SerializeToString())})
            for payload in payloads
        ]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Payloads kept earlier."""
        return [Payload.FromString(await self._store.get(claim.claim_data["digest"])) for claim in claims]


def data_converter(store: ArtifactStore, keyring: Keyring | None = None) -> DataConverter:
    """Pydantic values as JSON, large ones as artifacts; with keys, these and the texts of failures are encrypted."""
    # The SDK encrypts first and stores then: what it keeps in the store is encrypted too.
    return DataConverter(
        payload_converter_class=ReadablePayloadConverter,
        payload_codec=EncryptionCodec(keyring),
        failure_converter_class=DefaultFailureConverter if keyring is None else SealedFailureConverter,
        external_storage=ExternalStorage(drivers=[ArtifactDriver(store)], payload_size_threshold=LARGEST_INLINE_BYTES),
    )
