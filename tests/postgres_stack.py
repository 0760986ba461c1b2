"""The topology of docker-compose.yml without Docker: PostgreSQL and the real Temporal server, a process each."""

import asyncio
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from real_parts import USERS_HOME
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dspex.devserver import Server
from dspex.devserver._command import CommandError
from dspex.devserver._go_build import go_on_path, install, install_toolchain
from dspex.devserver._lock import exclusive

TEMPORAL_VERSION = "1.29.1"
PACKAGES = tuple(f"go.temporal.io/server/cmd/{name}@v{TEMPORAL_VERSION}" for name in ("server", "tools/sql"))
SERVICES = ("frontend", "history", "matching", "worker")
COMPOSE = yaml.safe_load((Path(__file__).parent.parent / "docker-compose.yml").read_text())
START_SECONDS = 120
BUILD_SECONDS = 900
TEMPORAL_FOLDER = USERS_HOME / "bin" / f"temporal-server-{TEMPORAL_VERSION}"
POSTGRES_READY = "database system is ready to accept connections"


class UnavailableError(Exception):
    """This machine has no PostgreSQL, or no way to build the Temporal server; the text says which."""


def postgres_folder():
    """The folder of PostgreSQL's own commands.

    Raises:
        UnavailableError: There is none.
    """
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres")):
            return folder
    raise UnavailableError("there is no PostgreSQL here: install it (apt-get install postgresql), or skip this")


def temporal_server_folder():
    """The folder of the commands `server` and `sql`.

    Raises:
        UnavailableError: They were not built.
    """
    if all((TEMPORAL_FOLDER / name).exists() for name in ("server", "sql")):
        return TEMPORAL_FOLDER
    raise UnavailableError("the Temporal server is not built here: `make servers` says why")


async def build_temporal_server(say):
    """Build those commands from source, once; they are kept in DSPEX_HOME.

    Raises:
        UnavailableError: They cannot be built here.
    """
    TEMPORAL_FOLDER.mkdir(parents=True, exist_ok=True)
    lock = TEMPORAL_FOLDER / "lock"
    async with exclusive(lock, lambda: say("waiting for another process that builds the Temporal server")):
        with suppress(UnavailableError):
            temporal_server_folder()
            return
        toolchain = TEMPORAL_FOLDER / "go-build"
        toolchain.mkdir(exist_ok=True)
        try:
            async with asyncio.timeout(BUILD_SECONDS):
                go = await go_on_path(say)
                caches = None if go else toolchain
                go = go or await install_toolchain(toolchain, say)
                await install(go, PACKAGES, TEMPORAL_FOLDER, say, doing="Building the Temporal server", caches=caches)
        except TimeoutError:
            raise UnavailableError(f"the Temporal server was not built within {BUILD_SECONDS} s") from None
        except CommandError as error:
            raise UnavailableError(f"the Temporal server cannot be built here: {error}") from None
        finally:
            await asyncio.to_thread(shutil.rmtree, toolchain, ignore_errors=True)


class PostgresStack:
    """PostgreSQL and a Temporal server, both on loopback; either may be killed and started again on its ports."""

    def __init__(self, folder, postgres, temporal):
        self.folder, self._postgres_folder, self._temporal_folder = folder, postgres, temporal
        self._account = account()
        ports = iter(free_ports(1 + 2 * len(SERVICES)))
        self._postgres_port = next(ports)
        self._ports = {name: (next(ports), next(ports)) for name in SERVICES}
        self._postgres = self._temporal = None

    @property
    def server(self):
        address = f"127.0.0.1:{self._ports['frontend'][0]}"
        return Server(address, "default", None, origin="configured", started=True)

    def start_postgres(self):
        data = self.folder / "postgres"
        options = [
            "-D",
            data,
            "-p",
            self._postgres_port,
            "-h",
            "127.0.0.1",
            "-k",
            self.folder,
            "-c",
            "max_connections=200",
        ]
        log = self.folder / "postgres.log"
        starts = log.read_text().count(POSTGRES_READY) if log.exists() else 0
        self._postgres = self._start("postgres", [self._postgres_folder / "postgres", *options], **self._account)
        # Its port answers before it has recovered from a kill.
        self._until(lambda: log.read_text().count(POSTGRES_READY) > starts, self._postgres, "postgres")

    def start_temporal(self):
        command = [self._temporal_folder / "server", "--root", self.folder, "--env", "dspex", "start"]
        self._temporal = self._start("temporal", command)
        self._until(lambda: answers(self._ports["frontend"][0]), self._temporal, "temporal")

    def kill_temporal(self):
        self._temporal.kill()
        self._temporal.wait()

    def kill_postgres(self):
        """Kill it and what it has forked, as a machine that loses power does."""
        os.killpg(self._postgres.pid, signal.SIGKILL)
        self._postgres.wait()

    def set_up(self):
        """What is done once: a database cluster, Temporal's schema in it, the server's configuration."""
        data = self.folder / "postgres"
        data.mkdir()
        if self._account:
            for path in (self.folder, data):
                shutil.chown(path, self._account["user"], self._account["group"])
        self._call("initdb", "-D", data, "-U", "temporal", "--auth=trust", "--no-sync", "--encoding=UTF8")
        self.start_postgres()
        self._run_schema_script()
        (self.folder / "config").mkdir()
        (self.folder / "config" / "dspex.yaml").write_text(yaml.safe_dump(self._configuration()))
        (self.folder / "dynamic.yaml").write_text(COMPOSE["configs"]["temporal-dynamic"]["content"])

    def _run_schema_script(self):
        """What the compose file's service does, twice, as at every start there."""
        commands = self.folder / "commands"
        commands.mkdir()
        (commands / "temporal-sql-tool").symlink_to(self._temporal_folder / "sql")
        [script] = COMPOSE["services"]["schema"]["command"]
        where = {"SQL_HOST": "127.0.0.1", "SQL_PORT": str(self._postgres_port), "SQL_PASSWORD": "not asked for"}
        own = COMPOSE["services"]["schema"]["environment"] | where
        environment = {**os.environ, **own, "PATH": f"{commands}:{os.environ['PATH']}"}
        for _ in range(2):
            done = subprocess.run(
                ["sh", "-euc", script.replace("$$", "$")],
                env=environment, check=False, capture_output=True, text=True, timeout=START_SECONDS,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-2000:]

    async def register_namespace(self):
        """Make the namespace, and wait until every part of the server knows it."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    client = await Client.connect(self.server.address)
                    request = RegisterNamespaceRequest(namespace="default")
                    request.workflow_execution_retention_period.FromSeconds(86400)
                    await client.workflow_service.register_namespace(request)
                except RuntimeError:
                    pass  # it does not answer yet
                except RPCError as error:
                    if error.status is RPCStatusCode.ALREADY_EXISTS and await is_listed(client):
                        return
                await asyncio.sleep(0.2)

    def stop(self):
        for process, kind in ((self._temporal, signal.SIGTERM), (self._postgres, signal.SIGINT)):
            if process is not None and process.poll() is None:
                process.send_signal(kind)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def _configuration(self):
        def database(name):
            address = f"127.0.0.1:{self._postgres_port}"
            driver = {"pluginName": "postgres12", "connectProtocol": "tcp", "maxConns": 20, "maxIdleConns": 20}
            return {"sql": {**driver, "databaseName": name, "connectAddr": address, "user": "temporal"}}

        frontend = self.server.address
        return {
            "log": {"stdout": True, "level": "warn"},
            "persistence": {
                "defaultStore": "default",
                "visibilityStore": "visibility",
                "numHistoryShards": 4,
                "datastores": {"default": database("temporal"), "visibility": database("temporal_visibility")},
            },
            "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
            "services": {
                name: {"rpc": {"grpcPort": grpc, "membershipPort": membership, "bindOnLocalHost": True}}
                for name, (grpc, membership) in self._ports.items()
            },
            "clusterMetadata": {
                "enableGlobalNamespace": False,
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {
                    "active": {
                        "enabled": True,
                        "initialFailoverVersion": 1,
                        "rpcName": "frontend",
                        "rpcAddress": frontend,
                    }
                },
            },
            "dynamicConfigClient": {"filepath": str(self.folder / "dynamic.yaml"), "pollInterval": "60s"},
            "dcRedirectionPolicy": {"policy": "noop"},
            "publicClient": {"hostPort": frontend},
        }

    def _call(self, name, *arguments):
        command = [str(self._postgres_folder / name), *map(str, arguments)]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            cwd=self.folder,
            **self._account,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"

    def _start(self, name, command, **account):
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **account
            )

    def _until(self, condition, process, name):
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            log = self.folder / f"{name}.log"
            assert process.poll() is None, f"{name} ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"{name} does not answer: {log.read_text()[-2000:]}"
            time.sleep(0.05)


@contextmanager
def postgres_stack():
    """A running stack.

    Raises:
        UnavailableError: This machine cannot have one; says what is missing.
    """
    postgres = postgres_folder()
    temporal = temporal_server_folder()
    # Not in pytest's folder: PostgreSQL runs under another account, and could not enter it.
    folder = Path(tempfile.mkdtemp(prefix="dspex-postgres-"))
    folder.chmod(0o755)
    stack = PostgresStack(folder, postgres, temporal)
    try:
        stack.set_up()
        stack.start_temporal()
        asyncio.run(stack.register_namespace())
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def account():
    """Whom PostgreSQL runs as: it refuses to be root's."""
    if os.getuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def free_ports(count):
    """Below 32768: PostgreSQL's schema keeps the ports of the server's parts in 16 bits with a sign."""
    found = []
    for port in random.sample(range(20_000, 32_000), 1000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise UnavailableError("there are no free ports between 20000 and 32000")


def answers(port):
    with socket.socket() as asking:
        asking.settimeout(1)
        return asking.connect_ex(("127.0.0.1", port)) == 0


async def is_listed(client):
    """Whether workflows can be listed: that part of the server is the last to learn of a namespace."""
    try:
        async for _ in client.list_workflows(limit=1):
            pass
    except RPCError:
        return False
    return True
