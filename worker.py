"""Start a worker: the same as `dspex worker`."""

import sys

from dspex.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "worker")
    main()
