"""Builds what the tests start, before a test waits for it: Temporal's dev server, that of the compose file, and S3."""

import asyncio
import sys

import s3_server
from postgres_stack import UnavailableError, build_temporal_server

from dspex.devserver import find_temporal_binary
from dspex_core.errors import DSPExError


async def build():
    for getting in (find_temporal_binary, build_temporal_server, s3_server.versitygw):
        try:
            await getting(say)
        except (DSPExError, UnavailableError, s3_server.UnavailableError) as error:
            say(f"the tests that need it will say so: {error}")


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(build())
