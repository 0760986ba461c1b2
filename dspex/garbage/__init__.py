"""Artifacts that nothing refers to any more."""

from dspex.garbage._collect import Collected, collect_garbage
from dspex.garbage._reached import Reached

__all__ = ["Collected", "Reached", "collect_garbage"]
