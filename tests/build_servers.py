"""Builds what the tests start, before a test waits for it: Temporal's dev server and the server of the compose file."""

import asyncio
import sys

from postgres_stack import UnavailableError, build_temporal_server

from dspex.devserver import find_temporal_binary
from dspex_core.errors import DSPExError


async def build():
    for getting in (find_temporal_binary, build_temporal_server):
        try:
            await getting(say)
        except (DSPExError, UnavailableError) as error:
            say(f"the tests that need it will say so: {error}")


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(build())
