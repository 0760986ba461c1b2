"""The `dspex` command."""

import sys

from typer.exceptions import Abort, TyperException

from dspex.cli._app import app
from dspex.cli._shell import DONE, FAILED, fail, innermost, leave, refuse, say
from dspex_core.errors import DSPExError


def main() -> None:
    """Run the command line: exit status 0 done, 1 the run failed, 2 bad usage or input."""
    # A user's own modules are named relative to where the command is typed.
    sys.path.insert(0, "")
    try:
        leave(app(standalone_mode=False) or DONE)
    except TyperException as error:
        refuse(error)
    except Abort:
        leave(FAILED)
    except (DSPExError, BaseExceptionGroup) as error:
        if not isinstance(innermost(error), DSPExError):
            raise
        fail(error)
    except SystemExit as end:
        if isinstance(end.code, str):
            say(f"error: {end.code}")
        leave(end.code if isinstance(end.code, int) else DONE if end.code is None else FAILED)


__all__ = ["main"]
