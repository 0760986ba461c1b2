import re
from collections.abc import Mapping, Sequence
from typing import Any

from dspex_core.datasets import label_values
from dspex_core.record import Example
from dspex_core.signature import FieldSpec, Signature, SignatureSpec

MOST_LABELS = 100
"""Distinct texts of an output column up to which it is a choice."""


def field_name(column: str) -> str:
    """The name of a column's field: the column's own, made fit to be one."""
    name = re.sub(r"\W+", "_", column).strip("_")
    return name if name.isidentifier() else f"field_{name}"


def signature_of_columns(
    rows: Sequence[dict[str, Any]],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    *,
    instructions: str,
    path: str,
    further: Sequence[Mapping[str, Any]] = (),
) -> type[Signature]:
    """The signature that columns of a data file tell: texts, and a choice where an output has few distinct texts.

    Args:
        rows: The file's rows.
        inputs: Columns of the inputs, by the names of their fields.
        outputs: Those of the outputs.
        instructions: The task in words; "" makes a sentence of the fields' names.
        path: The file, for errors.
        further: Rows of another file, whose texts are among the choice's, too.

    Raises:
        DatasetError: If a column is missing.
    """
    fields = [
        FieldSpec(name=name, role="input", type="str", desc=_described(name, column)) for name, column in inputs.items()
    ]
    for name, column in outputs.items():
        labels = label_values(rows, column, path=path)
        if labels is not None:
            labels = sorted({*labels, *labels_beside(labels, further, column)})
        if labels is not None and len(labels) > MOST_LABELS:
            labels = None
        kind = f"Literal[{', '.join(map(repr, labels))}]" if labels else "str"
        fields.append(FieldSpec(name=name, role="output", type=kind, desc=_described(name, column)))
    return SignatureSpec(name="Task", instructions=instructions, fields=tuple(fields)).build()


def labels_beside(labels: Sequence[str], further: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    """Texts of a column, in sorted order, that are not among the labels; blank ones are none."""
    texts = {text for row in further if isinstance(text := row.get(column), str) and text.strip()}
    return sorted(texts.difference(labels))


def examples_of(rows: Sequence[dict[str, Any]], inputs: Mapping[str, str], outputs: Mapping[str, str]) -> list[Example]:
    """Rows as examples, with columns under their field names."""
    columns = {**inputs, **outputs}
    return [Example({field: row[column] for field, column in columns.items()}).with_inputs(*inputs) for row in rows]


def _described(name: str, column: str) -> str:
    return "" if name == column else column
