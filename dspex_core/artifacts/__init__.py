"""The artifact store: data sets, row results and large payloads, kept by content."""

from dspex_core.artifacts._datasets import DatasetReader, blocks_of, store_dataset
from dspex_core.artifacts._keyring import Keyring, is_sealed, without_keys
from dspex_core.artifacts._store import ArtifactStore, StoredArtifact

__all__ = [
    "ArtifactStore",
    "DatasetReader",
    "Keyring",
    "StoredArtifact",
    "blocks_of",
    "is_sealed",
    "store_dataset",
    "without_keys",
]
