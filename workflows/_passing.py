"""What the runtime in a workflow makes of values that come in and go out."""

from collections.abc import Sequence
from typing import Any, TypeVar, cast

from dspex_core.errors import DatasetError
from dspex_core.requests import ProgramOutline
from dspex_core.seam import Dataset, Program, StoredDataset
from dspex_core.usage import Usage

T = TypeVar("T")


def usage_in(answer: object) -> Usage:
    """What an answer took, if it says so."""
    usage = getattr(answer, "usage", None)
    return usage if isinstance(usage, Usage) else Usage()


def with_changes(value: T, **changes: object) -> T:
    """A request or an answer with other values in some fields."""
    return cast("T", cast("Any", value).model_copy(update=changes))


def stored(dataset: Dataset) -> StoredDataset:
    if isinstance(dataset, StoredDataset):
        return dataset
    raise DatasetError("a durable run reads stored data sets; pass the rows to client.compile, which stores them")


def rows_named(rows: Sequence[int]) -> str:
    if len(rows) == 1:
        return f"row {rows[0]}"
    in_a_row = rows[-1] - rows[0] == len(rows) - 1
    return f"rows {rows[0]} to {rows[-1]}" if in_a_row else f"{len(rows)} rows"


def outline_of(program: Program) -> ProgramOutline:
    return cast("ProgramOutline", cast("Any", program))
