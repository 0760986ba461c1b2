import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from dspex import settings
from dspex.devserver import find_temporal_binary


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal_binary():
    """The resolver's own find, in the user's cache: the first run of all builds it, later ones are quick."""
    return await find_temporal_binary(print, home=settings.home())


@pytest.fixture
def no_temporal_settings(monkeypatch, tmp_path):
    """No TEMPORAL_ variable and no profile of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "no-profiles.toml"))


@pytest.fixture
def bare_machine(monkeypatch, tmp_path, no_temporal_settings):
    """A machine with an empty DSPEX_HOME, neither temporal nor go, and no way to the network; gives its PATH folder."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "mv", "cp"):
        (tools / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tools))
    return tools


@pytest.fixture
def install_command(bare_machine):
    """Puts a shell script on the bare machine's PATH: other people's programs, not ours."""

    def install(name: str, text: str) -> Path:
        path = bare_machine / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return install


class Process:
    """A Python program running beside the test; `expect` reads its lines until one holds the words."""

    def __init__(self, program: str, *arguments: object) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def expect(self, words: str) -> str:
        for line in self._process.stdout:
            self.lines.append(line.strip())
            if words in line:
                return line.strip()
        raise AssertionError(f"{words!r} was never said, only {self.lines}")

    def end(self) -> None:
        """Let the program go on past its input() and wait for it."""
        out, _ = self._process.communicate("\n", timeout=60)
        self.lines += out.splitlines()
        assert self._process.returncode == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start_process():
    with contextlib.ExitStack() as stack:

        def start(program: str, *arguments: object) -> Process:
            process = Process(program, *arguments)
            stack.callback(process.kill)
            return process

        yield start


class Said:
    """Collects what is said to the user, and lets a test wait for it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        task = asyncio.get_running_loop().create_task(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def __contains__(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    async def wait_for(self, words: str, times: int = 1) -> None:
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(lambda: sum(words in line for line in self.lines) >= times)

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()


@pytest.fixture
def said():
    return Said()
