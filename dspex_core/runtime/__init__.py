"""The runtime that does everything in this process, and how it is put in force."""

from dspex_core.runtime._in_process import InProcessRuntime
from dspex_core.runtime._scope import configure, using

__all__ = ["InProcessRuntime", "configure", "using"]
