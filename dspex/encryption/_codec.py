from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import EncodingPayloadConverter, PayloadCodec

from dspex_core.artifacts import Keyring, without_keys
from dspex_core.errors import EncryptionError

ENCODING = "binary/encrypted"
_REASON = "dspex-encryption-error"


class EncryptionCodec(PayloadCodec):
    """Encrypts every payload on its way to the server, and decrypts those that come from there.

    A payload that is not encrypted passes: keys may be given to clients and workers one after the other. One that
    cannot be decrypted is left as it is, with the reason: whoever needs its value meets that.

    Args:
        keyring: The keys; without any, nothing is encrypted, and what is encrypted stays so.
    """

    def __init__(self, keyring: Keyring | None) -> None:
        self._keyring = keyring

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Payloads sealed whole: what they hold and how it is written."""
        return list(payloads) if self._keyring is None else [_sealed(payload, self._keyring) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Payloads as they were before `encode`."""
        return [self._decoded(payload) if is_encrypted(payload) else payload for payload in payloads]

    def _decoded(self, payload: Payload) -> Payload:
        try:
            if self._keyring is None:
                raise without_keys(payload.data)
            return Payload.FromString(self._keyring.open(payload.data))
        except EncryptionError as error:
            unread = Payload()
            unread.CopyFrom(payload)
            unread.metadata[_REASON] = str(error).encode()
            return unread


class ReadablePayloadConverter(PydanticPayloadConverter):
    """Pydantic values as JSON. A payload that is still encrypted here is one clear error."""

    def __init__(self) -> None:
        super().__init__()
        self.converters = {**self.converters, ENCODING.encode(): _StillEncrypted()}


class _StillEncrypted(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return ENCODING

    def to_payload(self, value: Any) -> Payload | None:
        return None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        raise why_encrypted(payload)


def is_encrypted(payload: Payload) -> bool:
    """Whether a payload is one of `EncryptionCodec`'s."""
    return payload.metadata.get("encoding") == ENCODING.encode()


def why_encrypted(payload: Payload) -> EncryptionError:
    """Why a payload is still encrypted."""
    reason = payload.metadata.get(_REASON)
    return without_keys(payload.data) if reason is None else EncryptionError(reason.decode())


def still_encrypted(message: Message) -> EncryptionError | None:
    """Why a payload anywhere in a message is still encrypted; None if none is."""
    if _REASON.encode() not in message.SerializeToString():  # much faster than looking at each
        return None
    return next((why_encrypted(payload) for payload in payloads_in(message) if _REASON in payload.metadata), None)


def payloads_in(message: Message) -> Iterator[Payload]:
    """Every payload in a message, however deep, as it is."""
    if isinstance(message, Payload):
        yield message
        return
    for _, value in message.ListFields():
        yield from (found for part in _parts(value) if isinstance(part, Message) for found in payloads_in(part))


def _parts(value: Any) -> Iterable[Any]:
    """The messages that a field holds: itself, the values of its map, or its items."""
    if isinstance(value, Message):
        return [value]
    if isinstance(value, Mapping):
        return cast("Mapping[Any, Any]", value).values()
    # Protobuf's containers are registered as sequences, and have no __iter__ of their own.
    return cast("Sequence[Any]", value) if isinstance(value, Sequence) else []


def _sealed(payload: Payload, keyring: Keyring) -> Payload:
    return Payload(
        metadata={"encoding": ENCODING.encode(), "encryption-key-id": keyring.key_ids[0].encode()},
        data=keyring.seal(payload.SerializeToString()),
    )
