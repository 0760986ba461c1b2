"""The command line as a user has it: in processes of its own, on files, against real servers."""

import asyncio
import csv
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dspex import settings
from dspex.cli._app import app

sys.path.append(str(Path(__file__).parents[2] / "core" / "testing"))

from intent_prompts import intent_rows

USERS_HOME = settings.home()


@dataclass(frozen=True)
class Finished:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return self.err.splitlines()


class Command:
    """A command that runs in a process of its own."""

    def __init__(self, process):
        self.process = process
        self.said = []

    async def until_said(self, *words):
        """Read what it says on stderr until there is a line for each of these words; each is looked for once."""
        wanted = list(words)
        while wanted:
            raw = await asyncio.wait_for(self.process.stderr.readline(), 60)
            assert raw, f"it ended before it said {wanted}: {self.said}"
            line = raw.decode().rstrip()
            self.said.append(line)
            wanted = [word for word in wanted if word not in line]
        return self.said[-1]

    def tell(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    async def end(self):
        out, err = await asyncio.wait_for(self.process.communicate(), 120)
        return Finished(self.process.returncode, out.decode(), "\n".join([*self.said, err.decode()]).strip())


class CommandLine:
    """Starts commands in a folder, with the variables given."""

    def __init__(self, folder, variables):
        self.folder = folder
        self.variables = variables

    async def start(self, *arguments, module=("-m", "dspex"), **variables):
        environment = {**os.environ, **self.variables, **variables}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *module, *map(str, arguments)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
            env={name: value for name, value in environment.items() if value is not None},
            cwd=self.folder,
        )
        return Command(process)

    async def __call__(self, *arguments, **variables):
        command = await self.start(*arguments, **variables)
        return await command.end()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data like Banking77's: messages and one of ten intents each."""
    path = tmp_path_factory.mktemp("banking")
    write_csv(path / "train.csv", ("text", "label"), intent_rows(400, seed=1))
    write_csv(path / "dev.csv", ("text", "label"), intent_rows(200, seed=2))
    return path


@pytest.fixture
def dspex(platform, folder):
    """Runs a command to its end in a process of its own."""
    return CommandLine(folder, platform.variables)


@pytest.fixture
def in_this_process(platform, folder, monkeypatch):
    """Runs a command without the seconds that a process of its own takes; for commands that should do well."""
    monkeypatch.chdir(folder)
    runner = CliRunner()

    def invoke(*arguments, **variables):
        done = runner.invoke(app, [*map(str, arguments)], env=variables, catch_exceptions=False)
        return Finished(done.exit_code, done.stdout, done.stderr)

    return invoke


@pytest.fixture
def users_home():
    """Where the temporal command is cached, for commands that start a server of their own."""
    return USERS_HOME


@pytest.fixture
def model(platform):
    """The options that name the fake model."""
    return ("--lm", "openai/fake", "--api-base", platform.provider.base_url)


def write_csv(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
