import asyncio
import socket

import pytest
from tls_parts import TlsFront, authority

from dspex import Client
from dspex.devserver import Server, configured_server, connect_options, dev_server, web_ui_link
from dspex.worker import WorkerProcess
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


@pytest.mark.parametrize("address", ["http://127.0.0.1:7233", "127.0.0.1", "not an address", "host:port", "a:123456"])
async def test_an_address_that_is_no_host_and_port_is_refused(monkeypatch, address):
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(ConfigurationError, match=r"is no host:port"):
        await configured_server()


async def speak_http(reader, writer):
    await reader.readline()
    await leave(reader, writer, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def speak_ssh(reader, writer):
    await leave(reader, writer, b"SSH-2.0-OpenSSH_9.2\r\n")


async def leave(reader, writer, said=b""):
    writer.write(said)
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("speak", [speak_http, speak_ssh, leave])
async def test_what_listens_and_is_no_temporal_server_is_one_clear_error(monkeypatch, speak):
    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        with pytest.raises(ServerUnavailableError, match="Temporal server") as caught:
            await configured_server()
    said = str(caught.value)
    assert address in said
    assert not any(raw in said for raw in ("tonic", "hyper", "Status {", "kind:", "http2"))


@pytest.fixture
def certificates(tmp_path):
    return authority(tmp_path / "trusted")


@pytest.fixture
async def front(certificates, running):
    async with TlsFront(certificates, running.address) as listening:
        yield listening


@pytest.fixture
async def running(monkeypatch, tmp_path, temporal_binary, said):
    monkeypatch.setenv("PATH", f"{temporal_binary.parent}:/usr/bin:/bin")
    async with dev_server(said, state_dir=tmp_path / "state") as server:
        yield server


def tls(authority_path, certificate=None, key=None):
    given = {"TLS": "true", "TLS_SERVER_CA_CERT_PATH": authority_path, "TLS_CLIENT_CERT_PATH": certificate,
             "TLS_CLIENT_KEY_PATH": key}  # fmt: skip
    return {f"TEMPORAL_{name}": str(value) for name, value in given.items() if value is not None}


@pytest.mark.slow
async def test_client_and_worker_show_their_certificates_and_whoever_has_none_is_told(
    monkeypatch, tmp_path, certificates, front
):
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "home"))
    stranger = authority(tmp_path / "stranger")
    monkeypatch.setenv("TEMPORAL_ADDRESS", front.address)
    right = tls(certificates.path, *certificates.issue("client"))
    for variables, said in (
        ({}, "it ended the connection: it may ask for TLS"),
        (tls(certificates.path), "for a client certificate"),
        (tls(certificates.path, *stranger.issue("client")), "or for another one"),
        (tls(stranger.path, *certificates.issue("client")), "its TLS certificate is not trusted"),
        ({**right, "TEMPORAL_TLS_SERVER_NAME": "temporal.example"}, "is of another name"),
        (tls(certificates.path, certificates.issue("client")[0]), "goes with its key"),
    ):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            with pytest.raises(ServerUnavailableError) as caught:
                await configured_server()
            assert said in str(caught.value)

    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        f'[profile.team]\naddress = "{front.address}"\n[profile.team.tls]\n'
        f'server_ca_cert_path = "{certificates.path}"\n'
        f'client_cert_path = "{right["TEMPORAL_TLS_CLIENT_CERT_PATH"]}"\n'
        f'client_key_path = "{right["TEMPORAL_TLS_CLIENT_KEY_PATH"]}"\n'
    )
    monkeypatch.delenv("TEMPORAL_ADDRESS")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profiles))
    monkeypatch.setenv("TEMPORAL_PROFILE", "team")
    server = await configured_server()
    before = front.passed
    async with WorkerProcess(server), await Client.connect(server) as client:
        assert client.server.address == front.address
        while not await client.has_worker():
            await asyncio.sleep(0.05)
    assert front.passed >= before + 2


@pytest.mark.slow
async def test_tls_that_a_server_does_not_speak_is_said_and_an_api_key_switches_it_on(monkeypatch, running):
    monkeypatch.setenv("TEMPORAL_ADDRESS", running.address)
    monkeypatch.setenv("TEMPORAL_API_KEY", "an-api-key-of-the-tests")
    with pytest.raises(ServerUnavailableError, match=r"it does not speak TLS, which .* an API key asks for") as caught:
        await configured_server()
    assert "of-the-tests" not in str(caught.value)


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
