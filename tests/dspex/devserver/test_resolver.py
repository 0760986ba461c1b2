import socket

import pytest

from dspex.devserver import running_dev_server, server
from dspex_core.errors import ServerSetupError, ServerUnavailableError

pytestmark = pytest.mark.usefixtures("bare_machine")


async def test_a_configured_address_without_a_server_is_an_error_and_starts_nothing(monkeypatch, said):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(ServerUnavailableError):
            async with server(said):
                pass
    assert said.lines == []
    assert await running_dev_server() is None


@pytest.mark.slow
async def test_without_a_configured_address_a_dev_server_is_started_in_home(
    temporal_binary, monkeypatch, said, tmp_path
):
    monkeypatch.setenv("PATH", f"{temporal_binary.parent}:/usr/bin:/bin")
    async with server(said) as found:
        assert (found.origin, found.started) == ("dev server", True)
        assert await running_dev_server() is not None
    assert (tmp_path / "home" / "dev-server" / "temporal.db").exists()


@pytest.mark.slow
async def test_a_configured_server_is_used_and_left_running(temporal_binary, monkeypatch, said, tmp_path):
    monkeypatch.setenv("PATH", f"{temporal_binary.parent}:/usr/bin:/bin")
    async with server(said) as dev:
        monkeypatch.setenv("TEMPORAL_ADDRESS", dev.address)
        async with server(said) as configured:
            assert (configured.origin, configured.address) == ("configured", dev.address)
        assert await running_dev_server() is not None


@pytest.mark.slow
async def test_without_any_way_to_a_server_the_error_says_how_to_get_one(said):
    with pytest.raises(ServerSetupError, match="install the Temporal CLI"):
        async with server(said):
            pass
    assert await running_dev_server() is None
