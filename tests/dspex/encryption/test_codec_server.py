import base64
import json

import aiohttp
import pytest
from temporalio.api.common.v1 import Payload

from dspex import DSPExPlugin
from dspex.encryption import CodecServer
from dspex.worker import _payloads
from dspex_core.errors import ConfigurationError

KEY = f"one:{base64.b64encode(bytes(range(32))).decode()}"
PAGE = "http://127.0.0.1:8233"
TOKEN = "a-token-of-the-tests"


@pytest.fixture
def plugin(tmp_path):
    return DSPExPlugin(artifacts=tmp_path.as_uri(), encryption_key=KEY)


async def in_a_history(plugin, *values):
    """Values as a history has them, in the JSON that the Web UI sends."""
    return {"payloads": [as_json(payload) for payload in await plugin._converter.encode(values)]}


def as_json(payload):
    metadata = {name: base64.b64encode(value).decode() for name, value in payload.metadata.items()}
    return {"metadata": metadata, "data": base64.b64encode(payload.data).decode()}


async def ask(server, path, body, **headers):
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/{path}", json=body, headers=headers) as response,
    ):
        return response.status, response.headers, await response.json()


def values_in(answer):
    return [json.loads(base64.b64decode(payload["data"])) for payload in answer["payloads"]]


async def test_small_and_large_payloads_become_readable(plugin):
    large = "x" * (_payloads.LARGEST_INLINE_BYTES + 1)
    async with CodecServer(plugin.payload_reader()) as server:
        body = await in_a_history(plugin, "secret", large)
        assert "secret" not in json.dumps(body)
        status, _, answer = await ask(server, "decode", body)
        assert (status, values_in(answer)) == (200, ["secret", large])
        assert [base64.b64decode(p["metadata"]["encoding"]) for p in answer["payloads"]] == [b"json/plain"] * 2


async def test_large_payloads_become_readable_where_nothing_is_encrypted(tmp_path):
    plugin = DSPExPlugin(artifacts=tmp_path.as_uri())
    large = "x" * (_payloads.LARGEST_INLINE_BYTES + 1)
    async with CodecServer(plugin.payload_reader()) as server:
        assert values_in((await ask(server, "decode", await in_a_history(plugin, large, 3)))[2]) == [large, 3]


async def test_what_it_encrypts_a_worker_can_read(plugin):
    plain = as_json(Payload(metadata={"encoding": b"json/plain"}, data=b'"typed into the Web UI"'))
    async with CodecServer(plugin.payload_reader()) as server:
        _, _, sealed = await ask(server, "encode", {"payloads": [plain]})
        assert base64.b64decode(sealed["payloads"][0]["metadata"]["encoding"]) == b"binary/encrypted"
        assert values_in((await ask(server, "decode", sealed))[2]) == ["typed into the Web UI"]


async def test_a_missing_key_is_named(plugin, tmp_path):
    other = DSPExPlugin(artifacts=tmp_path.as_uri(), encryption_key=KEY.replace("one", "two"))
    async with CodecServer(other.payload_reader()) as server:
        status, _, answer = await ask(server, "decode", await in_a_history(plugin, 1))
    assert status == 400
    assert "encrypted with the key 'one', and DSPEX_ENCRYPTION_KEY has only 'two' here" in answer["message"]


@pytest.mark.parametrize("body", ["nonsense", '{"payloads": 3}', b"\xff\xfe"])
async def test_a_body_that_is_no_payloads_is_refused(plugin, body):
    async with (
        CodecServer(plugin.payload_reader()) as server,
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/decode", data=body) as response,
    ):
        assert response.status == 400
        assert "payloads" in (await response.json())["message"]


async def test_only_pages_of_the_web_ui_may_ask(plugin):
    async with CodecServer(plugin.payload_reader(), origins=[PAGE + "/"]) as server:
        body = await in_a_history(plugin, 1)
        status, headers, _ = await ask(server, "decode", body, Origin=PAGE)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, PAGE)
        status, headers, _ = await ask(server, "decode", body, Origin="http://evil.example")
        assert status == 403
        assert "Access-Control-Allow-Origin" not in headers


async def test_a_browser_is_told_in_advance_what_it_may_send(plugin):
    async with (
        CodecServer(plugin.payload_reader(), origins=[PAGE], token=TOKEN) as server,
        aiohttp.ClientSession() as session,
    ):
        for path in ("decode", f"{TOKEN}/decode"):
            async with session.options(f"{server.url}/{path}", headers={"Origin": PAGE}) as response:
                assert response.status == 204
                assert response.headers["Access-Control-Allow-Origin"] == PAGE
                allowed = response.headers["Access-Control-Allow-Headers"]
                assert {"content-type", "x-namespace", "authorization"} <= set(allowed.split(", "))


async def test_a_token_is_asked_for_in_the_header_or_in_the_path(plugin):
    async with CodecServer(plugin.payload_reader(), host="0.0.0.0", token=TOKEN) as server:
        body = await in_a_history(plugin, 7)
        for path, headers, expected in (
            ("decode", {}, 401),
            ("decode", {"Authorization": "Bearer another"}, 401),
            ("another-one/decode", {}, 401),
            ("decode", {"Authorization": f"Bearer {TOKEN}"}, 200),
            (f"{TOKEN}/decode", {}, 200),
        ):
            assert (await ask(server, path, body, **headers))[0] == expected, (path, headers)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "codec.example"])
def test_beyond_this_machine_a_token_is_needed(plugin, host):
    with pytest.raises(ConfigurationError, match="DSPEX_CODEC_TOKEN"):
        CodecServer(plugin.payload_reader(), host=host)


@pytest.mark.parametrize("token", ["short", "with/slashes/in/the/middle", "ümlauts-are-no-header-text"])
def test_a_token_that_cannot_serve_is_refused(plugin, token):
    with pytest.raises(ConfigurationError, match="at least 16 characters"):
        CodecServer(plugin.payload_reader(), token=token)


async def test_a_port_that_is_taken_is_one_clear_error(plugin):
    async with CodecServer(plugin.payload_reader()) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"):
            await CodecServer(plugin.payload_reader(), port=port).__aenter__()
