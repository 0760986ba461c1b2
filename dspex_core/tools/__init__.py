"""Tools: functions that a model may call, with their arguments described and checked."""

from dspex_core.tools._calling import as_text
from dspex_core.tools._tool import Tool, ToolSpec, as_tool

__all__ = ["Tool", "ToolSpec", "as_text", "as_tool"]
