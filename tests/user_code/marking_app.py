"""A module that leaves a mark when it is imported, which no worker of the tests may do."""

import os
from pathlib import Path

Path(os.environ["DSPEX_HOME"], "imported").touch()


def anything(*given, **named):
    return 1.0
