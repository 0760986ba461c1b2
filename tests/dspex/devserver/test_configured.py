import socket

import pytest

from dspex.devserver import Server, configured_server, connect_options, dev_server, web_ui_link
from dspex_core.errors import ConfigurationError, ServerUnavailableError

pytestmark = pytest.mark.usefixtures("no_temporal_settings")


async def test_without_an_address_no_server_is_configured():
    assert await configured_server() is None


async def test_an_address_where_nothing_listens_is_named_in_the_error(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        with pytest.raises(ServerUnavailableError, match=f"{address} .*nothing listens there"):
            await configured_server()


@pytest.mark.slow
async def test_an_address_that_never_answers_is_given_up_in_one_line(monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ServerUnavailableError, match="no answer within 5 seconds") as caught:
            await configured_server()
    assert "\n" not in str(caught.value)


async def test_a_profile_names_the_server_too(monkeypatch, tmp_path):
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('[profile.staging]\naddress = "staging.invalid:7233"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profiles))
    monkeypatch.setenv("TEMPORAL_PROFILE", "staging")
    with pytest.raises(ServerUnavailableError, match=r"staging\.invalid:7233"):
        await configured_server()


async def test_a_profile_that_does_not_exist_is_a_configuration_error(monkeypatch):
    monkeypatch.setenv("TEMPORAL_PROFILE", "nowhere")
    with pytest.raises(ConfigurationError, match="TEMPORAL_PROFILE"):
        await configured_server()


@pytest.mark.slow
async def test_a_configured_server_that_answers_is_used_if_it_has_the_namespace(
    monkeypatch, tmp_path, temporal_binary, said
):
    monkeypatch.setenv("PATH", f"{temporal_binary.parent}:/usr/bin:/bin")
    async with dev_server(said, state_dir=tmp_path / "state") as running:
        monkeypatch.setenv("TEMPORAL_ADDRESS", running.address)
        configured = await configured_server()
        assert configured is not None
        assert (configured.address, configured.namespace) == (running.address, "default")
        assert (configured.origin, configured.started) == ("configured", False)

        monkeypatch.setenv("TEMPORAL_NAMESPACE", "team-a")
        with pytest.raises(ServerUnavailableError, match="no namespace 'team-a'"):
            await configured_server()


def test_an_api_key_goes_to_the_configured_server_only(monkeypatch):
    monkeypatch.setenv("TEMPORAL_API_KEY", "key-1")
    configured = Server("a:1", "team", None, origin="configured", started=False)
    dev = Server("127.0.0.1:7233", "default", None, origin="dev server", started=True)
    assert connect_options(configured) == {"target_host": "a:1", "namespace": "team", "api_key": "key-1", "tls": True}
    assert connect_options(dev) == {"target_host": "127.0.0.1:7233", "namespace": "default"}


def test_a_link_to_a_workflow_quotes_its_id():
    server = Server("127.0.0.1:7233", "default", "http://127.0.0.1:8233", origin="dev server", started=True)
    base = "http://127.0.0.1:8233/namespaces/default/workflows"
    assert web_ui_link(server, "a b/c") == f"{base}/a%20b%2Fc"
    assert web_ui_link(server, "run-1", "0193") == f"{base}/run-1/0193/history"


def test_there_is_no_link_without_a_web_ui():
    assert web_ui_link(Server("a:1", "default", None, origin="configured", started=False), "x") is None
