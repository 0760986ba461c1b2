"""What our own tests use, for yours too: a fake model provider and the conformance suite for optimizers."""

from dspex_core.testing._conformance import (
    Trajectory,
    check_optimizer,
    conformance_program,
    conformance_rows,
)
from dspex_core.testing.fake_provider import FakeProvider, FakeProviderProcess

__all__ = [
    "FakeProvider",
    "FakeProviderProcess",
    "Trajectory",
    "check_optimizer",
    "conformance_program",
    "conformance_rows",
]
