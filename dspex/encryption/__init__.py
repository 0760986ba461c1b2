"""Payloads that only those who hold the keys can read: the codec of clients and workers, a server for the Web UI."""

from dspex.encryption._codec import EncryptionCodec, ReadablePayloadConverter, payloads_in
from dspex.encryption._failures import SealedFailureConverter
from dspex.encryption._reader import PayloadReader
from dspex.encryption._runner import SealedWorkflowRunner
from dspex.encryption._server import CodecServer

__all__ = [
    "CodecServer",
    "EncryptionCodec",
    "PayloadReader",
    "ReadablePayloadConverter",
    "SealedFailureConverter",
    "SealedWorkflowRunner",
    "payloads_in",
]
