"""The `dspex` command."""

import sys

from dspex.cli._app import app
from dspex.cli._shell import DONE, fail, innermost, leave
from dspex_core.errors import DSPExError


def main() -> None:
    """Run the command line: exit status 0 done, 1 the run failed, 2 bad usage or input."""
    # A user's own modules are named relative to where the command is typed.
    sys.path.insert(0, "")
    try:
        app()
    except (DSPExError, BaseExceptionGroup) as error:
        if not isinstance(innermost(error), DSPExError):
            raise
        fail(error)
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else DONE)


__all__ = ["main"]
