"""Runs Python that a model wrote, in a process of its own that can reach nothing but the tools it is given."""

from dspex_core.sandbox._limits import SandboxLimits
from dspex_core.sandbox._sandbox import Sandbox

__all__ = ["Sandbox", "SandboxLimits"]
