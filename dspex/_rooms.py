"""Where the workflows and activities are: at top level in a checkout, inside `dspex` once installed.

Other distributions own the bare names `workflows` and `activities`, so the wheel may not.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import activities
    import workflows
else:
    _prefix = "dspex." if find_spec("dspex.workflows") else ""
    activities = import_module(f"{_prefix}activities")
    workflows = import_module(f"{_prefix}workflows")

__all__ = ["activities", "workflows"]
