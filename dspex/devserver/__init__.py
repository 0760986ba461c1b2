"""Getting a Temporal server: the configured one, a dev server that runs already, or one that is started.

A binary for the dev server is found on PATH or in the cache, downloaded by the Temporal SDK, or built with Go.
The dev server belongs to all its users: the last one to leave stops it, and while it is used it is kept up.
"""

from dspex.devserver._binary import find_temporal_binary
from dspex.devserver._configured import configured_server, connect_options
from dspex.devserver._connect import connect_to
from dspex.devserver._lease import dev_server, has_dev_server, running_dev_server, server, stop_dev_server
from dspex.devserver._server import Say, Server, web_ui_link

__all__ = [
    "Say",
    "Server",
    "configured_server",
    "connect_options",
    "connect_to",
    "dev_server",
    "find_temporal_binary",
    "has_dev_server",
    "running_dev_server",
    "server",
    "stop_dev_server",
    "web_ui_link",
]
