import asyncio
import json
import os
import signal
import socket

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from dspex.devserver import _process, dev_server, running_dev_server, stop_dev_server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_temporal_settings")]

USE = """
import asyncio, sys
from pathlib import Path
from dspex.devserver import dev_server

async def main():
    async with dev_server(print, state_dir=Path(sys.argv[1])) as server:
        print("in use", server.started, server.address)
        await asyncio.to_thread(input)
    print("left")

asyncio.run(main())
"""


@pytest.fixture
async def state(tmp_path, monkeypatch, temporal_binary):
    """A fresh state folder, with the resolver's binary first on PATH; whatever a test leaves running is stopped."""
    monkeypatch.setenv("PATH", f"{temporal_binary.parent}:{os.environ['PATH']}")
    folder = tmp_path / "state"
    yield folder
    await stop_dev_server(state_dir=folder)


def server_pid(state):
    return json.loads((state / "server.json").read_text())["pid"]


async def test_a_port_that_another_program_takes_first_is_no_failure(state, said, monkeypatch):
    free = _process._free_ports
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        given = [free(), (other.getsockname()[1], 0)]
        monkeypatch.setattr(_process, "_free_ports", lambda: given.pop(0) if given else free())
        monkeypatch.setattr(_process, "_USUAL_PORTS", (other.getsockname()[1], 0))
        async with dev_server(said, state_dir=state) as server:
            assert server.started
            await start_a_workflow(server.address)


async def start_a_workflow(address):
    client = await Client.connect(address)
    await client.start_workflow("Anything", id="kept", task_queue="nobody")


async def workflow_is_known(address):
    client = await Client.connect(address)
    try:
        await client.get_workflow_handle("kept").describe()
    except RPCError:
        return False
    return True


async def test_a_server_is_started_and_its_last_user_stops_it(state, said):
    async with dev_server(said, state_dir=state) as server:
        assert server.started
        assert server.origin == "dev server"
        await start_a_workflow(server.address)
        assert (await running_dev_server(state_dir=state)).address == server.address
        # Ctrl-C reaches the terminal's whole process group: the server must not be in it.
        assert os.getpgid(server_pid(state)) != os.getpgrp()
    assert await running_dev_server(state_dir=state) is None
    assert "its state is kept" in said


async def test_a_server_started_again_keeps_its_address_and_state(state, said):
    async with dev_server(said, state_dir=state) as first:
        await start_a_workflow(first.address)
    async with dev_server(said, state_dir=state) as second:
        assert second.address == first.address
        assert second.web_ui == first.web_ui
        assert await workflow_is_known(second.address)


async def test_two_processes_that_start_at_once_share_one_server(state, start_process):
    processes = [start_process(USE, state) for _ in range(2)]
    lines = sorted(process.expect("in use") for process in processes)
    assert [line.split()[2] for line in lines] == ["False", "True"]
    assert len({line.split()[3] for line in lines}) == 1

    processes[0].end()
    assert await running_dev_server(state_dir=state) is not None
    processes[1].end()
    assert await running_dev_server(state_dir=state) is None


async def test_a_server_whose_starter_was_killed_stays_up_for_the_next_user(state, start_process, said):
    starter = start_process(USE, state)
    address = starter.expect("in use").split()[3]
    starter.kill()
    assert await running_dev_server(state_dir=state) is not None
    async with dev_server(said, state_dir=state) as server:
        assert not server.started
        assert server.address == address
    assert await running_dev_server(state_dir=state) is None


async def test_a_killed_server_comes_back_on_the_same_address_with_its_state(state, said):
    async with dev_server(said, state_dir=state) as server:
        await start_a_workflow(server.address)
        os.kill(server_pid(state), signal.SIGKILL)
        await said.wait_for("is up again")
        assert (await running_dev_server(state_dir=state)).address == server.address
        assert await workflow_is_known(server.address)


async def test_a_killed_server_is_restarted_once_for_all_its_users(state, said):
    async with dev_server(said, state_dir=state), dev_server(said, state_dir=state) as server:
        os.kill(server_pid(state), signal.SIGKILL)
        await said.wait_for("is up again")
        restarted = server_pid(state)
        async with dev_server(said, state_dir=state) as third:
            assert third.address == server.address
        assert server_pid(state) == restarted
    assert sum("is up again" in line for line in said.lines) == 1


async def test_a_server_that_keeps_dying_is_given_up_and_that_is_said(state, said):
    async with dev_server(said, state_dir=state):
        for restarts in range(1, 6):
            os.kill(server_pid(state), signal.SIGKILL)
            await said.wait_for("is up again", times=restarts)
        os.kill(server_pid(state), signal.SIGKILL)
        await said.wait_for("is left down")


async def test_servers_of_two_homes_get_addresses_of_their_own(state, said, tmp_path):
    async def use(name, both_up):
        async with dev_server(said, state_dir=tmp_path / name) as server:
            await both_up.wait()
            return server.address

    both_up = asyncio.Barrier(2)
    addresses = await asyncio.gather(use("one", both_up), use("two", both_up))
    assert len(set(addresses)) == 2
