"""The dashboard: runs as they go, in a browser."""

from dspex.dashboard._server import DEFAULT_HOST, DEFAULT_PORT, TOKEN_VARIABLE, dashboard, dashboard_installed

__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "TOKEN_VARIABLE", "dashboard", "dashboard_installed"]
