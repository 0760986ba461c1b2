import asyncio
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from dspex_core.artifacts._store import ArtifactStore
from dspex_core.errors import DatasetError
from dspex_core.record import Example
from dspex_core.requests import Rows
from dspex_core.seam import StoredDataset

ROWS_A_BLOCK = 500
BYTES_A_BLOCK = 1_000_000
BLOCKS_KEPT = 64


class _Block(BaseModel):
    digest: str
    start: int
    stop: int


class _Manifest(BaseModel):
    inputs: tuple[str, ...]
    blocks: tuple[_Block, ...]


async def store_dataset(store: ArtifactStore, examples: Sequence[Example]) -> StoredDataset:
    """Keep a data set as an artifact, in blocks of rows, so that a worker reads only those it needs.

    Raises:
        DatasetError: If there are no rows, a row's inputs differ from the first row's, or a value is no JSON.
        ArtifactError: If the store cannot be written to.
    """
    if not examples:
        raise DatasetError("the data set has no rows")
    blocks: list[_Block] = []
    for start, rows in _blocks(examples):
        digest = await store.put(b"[" + b",".join(rows) + b"]")
        blocks.append(_Block(digest=digest, start=start, stop=start + len(rows)))
    manifest = _Manifest(inputs=examples[0].input_names, blocks=tuple(blocks))
    return StoredDataset(digest=await store.put(manifest.model_dump_json().encode()), size=len(examples))


def blocks_of(content: bytes) -> tuple[str, ...] | None:
    """Digests of a data set's blocks, if this is the artifact that a data set goes by; else None."""
    if not content.startswith(b'{"inputs":'):
        return None
    try:
        return tuple(block.digest for block in _Manifest.model_validate_json(content).blocks)
    except ValidationError:
        return None


class DatasetReader:
    """Reads rows of stored data sets, keeping the blocks used last in memory."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._kept: OrderedDict[str, Any] = OrderedDict()

    async def read(self, dataset: StoredDataset, indices: Sequence[int]) -> Rows:
        """Rows in the order of `indices`.

        Raises:
            ArtifactError: If an artifact is missing or altered.
            DatasetError: If an index is out of range.
        """
        manifest = await self._manifest(dataset.digest)
        found: list[dict[str, Any]] = []
        for index in indices:
            block = next((block for block in manifest.blocks if block.start <= index < block.stop), None)
            if block is None:
                raise DatasetError(f"row {index} is not in the data set of {dataset.size} rows")
            rows = await self._rows(block.digest)
            found.append(rows[index - block.start])
        return Rows(inputs=manifest.inputs, rows=tuple(found))

    async def _manifest(self, digest: str) -> _Manifest:
        if digest not in self._kept:
            self._keep(digest, _Manifest.model_validate_json(await self._store.get(digest)))
        return self._kept[digest]

    async def _rows(self, digest: str) -> list[dict[str, Any]]:
        if digest not in self._kept:
            self._keep(digest, await asyncio.to_thread(json.loads, await self._store.get(digest)))
        self._kept.move_to_end(digest)
        return self._kept[digest]

    def _keep(self, digest: str, content: Any) -> None:
        self._kept[digest] = content
        while len(self._kept) > BLOCKS_KEPT:
            self._kept.popitem(last=False)


def _blocks(examples: Sequence[Example]) -> Iterator[tuple[int, list[bytes]]]:
    start, size = 0, 0
    rows: list[bytes] = []
    for index, example in enumerate(examples):
        row = _row_json(index, example, examples[0].input_names)
        if rows and (len(rows) == ROWS_A_BLOCK or size + len(row) > BYTES_A_BLOCK):
            yield start, rows
            start, size, rows = index, 0, []
        rows.append(row)
        size += len(row)
    yield start, rows


def _row_json(index: int, example: Example, inputs: tuple[str, ...]) -> bytes:
    if set(example.input_names) != set(inputs):
        raise DatasetError(
            f"row {index}: its inputs are {', '.join(example.input_names)}, the first row's {', '.join(inputs)}"
        )
    try:
        return to_json(example.to_dict())
    except PydanticSerializationError as error:
        raise DatasetError(f"row {index} cannot be stored as JSON: {error}") from None
