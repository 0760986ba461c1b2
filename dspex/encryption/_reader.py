from google.protobuf import json_format
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import StorageDriver, StorageDriverClaim, StorageDriverRetrieveContext

from dspex.encryption._codec import EncryptionCodec, is_encrypted, why_encrypted
from dspex_core.artifacts import Keyring

_REFERENCE = ExternalStorageReference.DESCRIPTOR.full_name.encode()


class PayloadReader:
    """Makes payloads as a history has them readable: large ones are fetched, encrypted ones decrypted.

    Args:
        driver: Where large payloads are kept.
        keyring: The keys, if there are any.
    """

    def __init__(self, driver: StorageDriver, keyring: Keyring | None) -> None:
        self._driver = driver
        self._codec = EncryptionCodec(keyring)

    async def read(self, payload: Payload) -> Payload:
        """The payload as it was before it was stored and encrypted.

        Raises:
            EncryptionError: If it is encrypted with a key that is not here.
            ArtifactError: If it is kept in the artifact store, and cannot be had from there.
        """
        if payload.metadata.get("messageType") == _REFERENCE:
            payload = await self._fetched(payload)
        [payload] = await self._codec.decode([payload])
        if is_encrypted(payload):
            raise why_encrypted(payload)
        return payload

    async def write(self, payload: Payload) -> Payload:
        """The payload as a history may have it, encrypted if there are keys."""
        [payload] = await self._codec.encode([payload])
        return payload

    async def _fetched(self, payload: Payload) -> Payload:
        reference = json_format.Parse(payload.data, ExternalStorageReference(), ignore_unknown_fields=True)
        if reference.driver_name != self._driver.name():
            return payload
        claim = StorageDriverClaim(claim_data=dict(reference.claim_data))
        [stored] = await self._driver.retrieve(StorageDriverRetrieveContext(), [claim])
        return stored
