"""DSPEx, the platform's face: client, settings, dev server, worker assembly and command line.

Names are imported when first used: Temporal's workflow sandbox runs this file again for every workflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex.client import Client, Run, RunStatus
    from dspex.worker import DSPExPlugin
    from dspex_core.budget import Budget

_HOMES = {"Client": "client", "DSPExPlugin": "worker", "Run": "client", "RunStatus": "client"}

__all__ = ["Budget", "Client", "DSPExPlugin", "Run", "RunStatus"]


def __getattr__(name: str) -> Any:
    if name == "Budget":
        return import_module("dspex_core.budget").Budget
    if name in _HOMES:
        return getattr(import_module(f"dspex.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'dspex' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
