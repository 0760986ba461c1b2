from typing import Any

from dspex_core.errors import ProgramError, SignatureError
from dspex_core.signature import InputField, OutputField, Signature, signature_of


def signature_from_dspy(predictor: str, signature: Any) -> type[Signature]:
    """What a DSPy predictor asks, as our signature.

    Args:
        predictor: Its name, for errors.
        signature: Its `dspy.Signature`.

    Raises:
        ProgramError: If it is nothing that a signature here can say.
    """
    fields: dict[str, Any] = {}
    for name, field in signature.fields.items():
        said: dict[str, Any] = field.json_schema_extra
        make = InputField if said["__dspy_field_type"] == "input" else OutputField
        # DSPy describes a field that was given no description by its own name.
        desc = said.get("desc") or ""
        fields[name] = (field.rebuild_annotation(), make(desc="" if desc == f"${{{name}}}" else desc))
    try:
        return signature_of(fields, signature.instructions)
    except SignatureError as error:
        raise ProgramError(f"the signature of {predictor!r} in this DSPy program: {error}") from None
