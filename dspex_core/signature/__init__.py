"""Signatures: what a step of a program takes, gives and is told to do."""

from dspex_core.signature._declared import EnumSpec, Member, RecordSpec, TypeSpec
from dspex_core.signature._fields import InputField, OutputField
from dspex_core.signature._signature import (
    Signature,
    SignatureSpec,
    signature_of,
    type_adapter,
)
from dspex_core.signature._spec import FieldSpec
from dspex_core.signature._types import parse_type, type_name

__all__ = [
    "EnumSpec",
    "FieldSpec",
    "InputField",
    "Member",
    "OutputField",
    "RecordSpec",
    "Signature",
    "SignatureSpec",
    "TypeSpec",
    "parse_type",
    "signature_of",
    "type_adapter",
    "type_name",
]
