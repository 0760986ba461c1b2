"""The artifact store: data sets, row results and large payloads, kept by content."""

from dspex_core.artifacts._datasets import DatasetReader, store_dataset
from dspex_core.artifacts._store import ArtifactStore

__all__ = ["ArtifactStore", "DatasetReader", "store_dataset"]
