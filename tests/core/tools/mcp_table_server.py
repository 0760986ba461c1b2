"""An MCP server for tests: over stdio, or over HTTP on the port given."""

import os
import sys

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

PEOPLE = {"France": 68.4, "Spain": 48.6}
server = MCPServer("table", log_level="CRITICAL")


@server.tool()
def lookup(country: str) -> str:
    """Look up how many people live in a country, in millions."""
    if country not in PEOPLE:
        raise ToolError(f"{country} is not in the table")
    return f"{PEOPLE[country]} million"


@server.tool()
async def total(numbers: list[float], round_to: int = 1) -> dict[str, float]:
    return {"total": round(sum(numbers), round_to)}


@server.tool()
def variables() -> list[str]:
    """Names of the variables that the server sees."""
    return sorted(os.environ)


@server.tool()
def crash() -> str:
    """End the server."""
    os._exit(3)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
