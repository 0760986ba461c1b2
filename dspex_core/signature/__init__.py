"""Signatures: what a step of a program takes, gives and is told to do."""

from dspex_core.signature._signature import (
    FieldSpec,
    InputField,
    OutputField,
    Signature,
    SignatureSpec,
    signature_of,
    type_adapter,
)
from dspex_core.signature._types import parse_type, type_name

__all__ = [
    "FieldSpec",
    "InputField",
    "OutputField",
    "Signature",
    "SignatureSpec",
    "parse_type",
    "signature_of",
    "type_adapter",
    "type_name",
]
