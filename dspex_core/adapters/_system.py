"""What the system messages of all adapters have in common."""

import json
from collections.abc import Mapping
from functools import lru_cache

from pydantic.fields import FieldInfo

from dspex_core.adapters._layout import Layout
from dspex_core.signature import Signature, type_adapter, type_name

_PLAIN = {"str": "", "int": "a single int", "float": "a single float", "bool": "a single bool"}


def listed(layout: Layout) -> list[str]:
    """The fields, numbered, each with its type and description."""
    outputs = f"Your output fields are:\n{_numbered(layout.outputs)}" if layout.outputs else ""
    return [part for part in (f"Your input fields are:\n{_numbered(layout.inputs)}", outputs) if part]


def task(instructions: str) -> str:
    """The instruction, as the last part of a system message."""
    return f"Within this structure, your task is:\n{instructions}"


@lru_cache(maxsize=4096)
def hint(signature: type[Signature], name: str) -> str:
    """What the model must know of an output's type, beyond its name; nothing of an input's."""
    field = signature.output_fields.get(name)
    if field is None:
        return ""
    written = type_name(field.annotation)
    if written.startswith("Literal["):
        return f"exactly one of the values of {written}, nothing else"
    plain = _PLAIN.get(written)
    if plain is not None and not field.metadata:
        return plain
    schema = json.dumps(type_adapter(signature, name).json_schema(), ensure_ascii=False)
    return f"{plain or ('text' if written == 'str' else 'JSON')} that fits the schema {schema}"


def _numbered(fields: Mapping[str, FieldInfo]) -> str:
    lines = [
        f"{number}. `{name}` ({type_name(field.annotation)}): {field.description or ''}".rstrip()
        for number, (name, field) in enumerate(fields.items(), start=1)
    ]
    return "\n".join(lines)
