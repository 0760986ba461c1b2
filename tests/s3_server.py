"""A real S3 server for tests: versitygw, over a folder, on loopback. It checks every signature."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

from real_parts import USERS_HOME

from dspex.devserver._command import CommandError
from dspex.devserver._go_build import go_on_path, install, install_toolchain
from dspex.devserver._lock import exclusive

VERSION = "1.8.0"
PACKAGE = f"github.com/versity/versitygw/cmd/versitygw@v{VERSION}"
ACCESS_KEY, SECRET_KEY = "AKIATESTSOFDSPEX0001", "known-secret-of-the-artifact-store"
BUCKET = "artifacts"
START_SECONDS = 60


class UnavailableError(Exception):
    """The server cannot be built here; the text says why."""


async def versitygw(say=print):
    """The command, built from source once and kept in DSPEX_HOME.

    Raises:
        UnavailableError: It cannot be built here.
    """
    folder = USERS_HOME / "bin" / f"versitygw-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    async with exclusive(folder / "lock", lambda: say("waiting for another process that builds the S3 server")):
        if not (folder / "versitygw").exists():
            toolchain = folder / "go-build"
            toolchain.mkdir(exist_ok=True)
            try:
                go = await go_on_path(say)
                caches = None if go else toolchain
                go = go or await install_toolchain(toolchain, say)
                await install(go, [PACKAGE], folder, say, doing="Building an S3 server", caches=caches)
            except CommandError as error:
                raise UnavailableError(f"an S3 server cannot be built here: {error}") from None
            await asyncio.to_thread(shutil.rmtree, toolchain, ignore_errors=True)
    return folder / "versitygw"


class S3Server:
    """A running server. It may be stopped and started again on its port; what it holds stays."""

    def __init__(self, command, folder):
        self._command, self._folder = command, folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.objects = folder / "buckets" / BUCKET
        self.objects.mkdir(parents=True)
        (folder / "metadata").mkdir()
        self._process = None

    @property
    def variables(self):
        """The environment of who may use it."""
        return {
            "DSPEX_ARTIFACTS": f"s3://{BUCKET}/of/the tests",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    def start(self):
        command = [self._command, "--port", f"127.0.0.1:{self._port}", "--quiet", "posix"]
        command += ["--sidecar", self._folder / "metadata", self._folder / "buckets"]
        environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            assert time.monotonic() < end, "the S3 server did not start"
            time.sleep(0.02)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def send(self, number):
        self._process.send_signal(number)

    def stop(self):
        self._process.send_signal(signal.SIGCONT)
        self.kill()

    def _answers(self):
        with socket.socket() as asking:
            asking.settimeout(1)
            return asking.connect_ex(("127.0.0.1", self._port)) == 0


@contextmanager
def s3_server(folder):
    """A running server over a folder.

    Raises:
        UnavailableError: This machine cannot have one.
    """
    server = S3Server(asyncio.run(versitygw()), folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
