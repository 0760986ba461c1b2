"""Temporal activities: thin shells around the core's own runtime. All I/O of durable runs happens here."""

from ._activities import Activities
from ._turns import Turns

__all__ = ["Activities", "Turns"]
