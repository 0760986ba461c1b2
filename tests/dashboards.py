"""Dashboards in processes of their own, and runs to look at."""

import asyncio
import os
import sys
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass

from playwright.async_api import expect

from dspex_core.optimizers import LabeledFewShot
from dspex_core.testing import conformance_program, conformance_rows

TRAIN, VAL = conformance_rows(24), conformance_rows(16, start=24)
# A browser beside four other tests may be slow; what must be soon says so itself.
expect.set_options(timeout=30_000)
LABELED = LabeledFewShot(metric="exact_match", k=4)


@dataclass
class Served:
    """A dashboard that runs."""

    process: asyncio.subprocess.Process
    address: str

    async def kill(self):
        self.process.kill()
        await self.process.wait()

    @property
    def port(self):
        return self.address.split(":")[2].split("/")[0]


@asynccontextmanager
async def served(platform, *arguments, **variables):
    """`dspex dashboard`, from when it says its address until the block ends."""
    environment = {**os.environ, **platform.variables, **variables}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dspex", "dashboard", *(arguments or ("--port", "0"))),
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        cwd=platform.home,
    )
    said = []
    while not (said and said[-1].startswith("dashboard")):
        line = (await process.stderr.readline()).decode()
        assert line, f"it ended before it said its address: {said}"
        said.append(line)
    # What it says later is the test's to see if it fails.
    telling = asyncio.create_task(_tell(process.stderr))
    try:
        yield Served(process, said[-1].split()[1])
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)
        telling.cancel()


async def _tell(stream):
    while line := await stream.readline():
        sys.stderr.write(line.decode())


async def start(client, lm, *, optimizer=LABELED, name="run", program=None, train=TRAIN, val=VAL):
    return await client.compile(
        program or conformance_program(),
        optimizer=optimizer,
        trainset=train,
        valset=val,
        lm=lm,
        id=f"{name}-{uuid.uuid4().hex[:6]}",
        chunk_rows=4,
    )
