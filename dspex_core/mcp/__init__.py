"""Tools of MCP servers, over stdio or streamable HTTP. Needs `pip install "dspex[mcp]"`."""

from dspex_core.mcp._tools import MCPTools

__all__ = ["MCPTools"]
