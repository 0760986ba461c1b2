import base64
import binascii
import hashlib
import os
import re
from typing import Self

from dspex_core.errors import ConfigurationError, EncryptionError
from dspex_core.redaction import keep_secret

KEY_BYTES = 32
NONCE_BYTES = 12
PREFIX = b"dspex-sealed-1:"
"""What sealed bytes begin with; then a byte with the id's length, the id, the nonce and the sealed content."""

HOW_TO_MAKE = 'make one with: echo "$(date +%Y-%m):$(openssl rand -base64 32)"'
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Keyring:
    """Keys that content is encrypted and decrypted with: AES-256-GCM, a fresh nonce each time.

        keyring = Keyring.parse("2026-11:3q2+7w…=,2026-05:AAEC…=")
        assert keyring.open(keyring.seal(b"secret")) == b"secret"

    Sealed content names the key it was sealed with, so that keys can be changed: the first one seals, all of them open.

    Args:
        keys: Keys of 32 bytes by their ids, the one that seals first.

    Raises:
        ConfigurationError: If `dspex[encryption]` is not installed.
    """

    def __init__(self, keys: dict[str, bytes]) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigurationError(
                "DSPEX_ENCRYPTION_KEY is set, and encryption needs cryptography: pip install 'dspex[encryption]'"
            ) from None
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._first = next(iter(keys))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read keys as DSPEX_ENCRYPTION_KEY has them: "ID:BASE64,ID:BASE64", each of 32 bytes.

        A single key may come without an id; it then goes by a digest of its own.

        Raises:
            EncryptionError: If that is no list of keys; says which one is wrong and how to make one, and quotes none.
            ConfigurationError: If `dspex[encryption]` is not installed.
        """
        keep_secret(text)
        keys: dict[str, bytes] = {}
        for number, part in enumerate(text.split(","), 1):
            key_id, key = _parsed(part.strip(), number)
            if key_id in keys:
                raise EncryptionError(f"DSPEX_ENCRYPTION_KEY has two keys of the id {key_id!r}: give each its own")
            keys[key_id] = key
        return cls(keys)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the keys, the one that seals first. They are no secret."""
        return tuple(self._ciphers)

    def seal(self, content: bytes) -> bytes:
        """Encrypt with the first key; the header is authenticated too."""
        nonce = os.urandom(NONCE_BYTES)
        header = PREFIX + bytes([len(self._first)]) + self._first.encode()
        return header + nonce + self._ciphers[self._first].encrypt(nonce, content, header)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt with the key that sealed it.

        Raises:
            EncryptionError: If that key is not here, or these bytes were not sealed with it.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

        key_id = sealing_key(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise EncryptionError(_missing(key_id, self.key_ids))
        start = len(PREFIX) + 1 + len(key_id)
        nonce = sealed[start : start + NONCE_BYTES]
        try:
            return cipher.decrypt(nonce, sealed[start + NONCE_BYTES :], sealed[:start])
        except (InvalidTag, ValueError):
            raise EncryptionError(
                f"what was encrypted with the key {key_id!r} cannot be read with the key of that id here: it was "
                "altered, or DSPEX_ENCRYPTION_KEY has another key under the same id"
            ) from None


def is_sealed(content: bytes) -> bool:
    """Whether these bytes are what `Keyring.seal` gives."""
    return content.startswith(PREFIX) and len(content) > len(PREFIX) + 1 + NONCE_BYTES


def sealing_key(sealed: bytes) -> str:
    """Id of the key that sealed these bytes.

    Raises:
        EncryptionError: If they are not sealed, or damaged.
    """
    if not is_sealed(sealed):
        raise EncryptionError("what is marked as encrypted was not encrypted by DSPEx, or is damaged")
    start = len(PREFIX) + 1
    return sealed[start : start + sealed[len(PREFIX)]].decode("ascii", errors="replace")


def without_keys(sealed: bytes) -> EncryptionError:
    """The error for sealed bytes met where no key is set."""
    try:
        return EncryptionError(_missing(sealing_key(sealed), ()))
    except EncryptionError as error:
        return error


def _missing(key_id: str, known: tuple[str, ...]) -> str:
    here = f"has only {', '.join(map(repr, known))}" if known else "is not set"
    return (
        f"this is encrypted with the key {key_id!r}, and DSPEX_ENCRYPTION_KEY {here} here: "
        "give clients and workers the same keys"
    )


def _parsed(part: str, number: int) -> tuple[str, bytes]:
    key_id, colon, encoded = part.partition(":")
    if not colon:
        key_id, encoded = "", part
    keep_secret(encoded)
    key = _decoded(encoded)
    if key is None:
        raise EncryptionError(
            f"key {number} of DSPEX_ENCRYPTION_KEY is not the base64 text of {KEY_BYTES} random bytes (a passphrase is "
            f"no key); {HOW_TO_MAKE}"
        )
    if not colon:
        key_id = hashlib.sha256(key).hexdigest()[:8]
    if not _ID.fullmatch(key_id):
        raise EncryptionError(
            f"key {number} of DSPEX_ENCRYPTION_KEY has no usable id before its colon: "
            "take up to 64 letters, digits, dots, dashes and underscores"
        )
    return key_id, key


def _decoded(encoded: str) -> bytes | None:
    try:
        key = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None
