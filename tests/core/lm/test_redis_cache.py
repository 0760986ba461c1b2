import asyncio
import shutil
import signal
import socket
import subprocess
import time

import pytest
from model_servers import lm_of

from dspex_core.errors import ConfigurationError
from dspex_core.lm import ResponseCache, _redis
from dspex_core.lm._redis import RedisStore
from dspex_core.seam import LMRequest, Message

SERVER = shutil.which("redis-server")
PASSWORD = "a-known-password"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SERVER is None, reason="there is no redis-server here: apt-get install redis-server"),
]


def request(text="hello"):
    return LMRequest(messages=(Message(role="user", content=text),))


class RedisServer:
    """A Redis server of the tests' own."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self):
        options = ["--port", self.port, "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
        command = [SERVER, *map(str, options), "--dir", str(self.folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("redis-server does not listen")

    def hang(self):
        self._process.send_signal(signal.SIGSTOP)

    def stop(self):
        self._process.kill()
        self._process.wait()


@pytest.fixture
def server(tmp_path, monkeypatch):
    running = RedisServer(tmp_path)
    running.start()
    monkeypatch.setenv("DSPEX_CACHE", running.address)
    yield running
    running.stop()


async def test_answers_are_shared_through_redis_by_machines_with_homes_of_their_own(
    provider, server, monkeypatch, tmp_path
):
    first = await lm_of(provider).generate(request())
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path / "another machine"))
    second = await lm_of(provider).generate(request())
    assert (second.text, second.usage.cached_calls) == (first.text, 1)
    assert provider.stats().requests == 1
    assert not list((tmp_path / "home").rglob("*.db"))


async def test_many_calls_at_once_are_each_kept(provider, server):
    lm = lm_of(provider)
    await asyncio.gather(*(lm.generate(request(str(number))) for number in range(200)))
    again = await asyncio.gather(*(lm.generate(request(str(number))) for number in range(200)))
    assert sum(response.usage.cached_calls for response in again) == 200
    stats = ResponseCache().stats()
    assert (stats.entries, stats.limit_bytes, stats.usable) == (200, None, True)
    assert stats.size_bytes > 200 * 10


async def test_a_redis_that_goes_away_costs_its_answers_and_nothing_else(provider, server, caplog):
    lm = lm_of(provider)
    await lm.generate(request())
    server.stop()
    for _ in range(3):
        assert (await lm.generate(request())).usage.lm_calls == 1
    assert caplog.text.count("cannot be used") == 1
    assert PASSWORD not in caplog.text
    server.start()


async def test_a_redis_that_hangs_is_waited_for_once_and_then_left_alone_for_longer_and_longer(
    provider, server, caplog, monkeypatch
):
    asked, moment, read = [], [0.0], RedisStore._read
    monkeypatch.setattr(RedisStore, "_read", lambda store, batch: asked.append(moment[0]) or read(store, batch))
    monkeypatch.setattr(_redis.time, "monotonic", lambda: moment[0])
    lm = lm_of(provider)
    await lm.generate(request())
    server.hang()
    for moment[0] in (1.0, 2.0, 10.0, 12.0, 20.0, 31.0, 33.0):
        assert (await lm.generate(request())).usage.lm_calls == 1
    assert asked == [0.0, 1.0, 12.0, 33.0]
    assert caplog.text.count("cannot be used") == 1


async def test_values_of_others_in_the_same_redis_are_left_alone(provider, server, tmp_path):
    store = RedisStore(server.address)
    store._client.set("theirs", "1")
    await lm_of(provider).generate(request())
    cache = ResponseCache()
    lines = list(cache.export())
    assert len(lines) == 1
    assert cache.clear() == 1
    assert cache.load(lines) == 1
    assert cache.load(lines) == 0
    assert store._client.get("theirs") == b"1"


async def test_what_is_no_answer_in_redis_is_asked_for_again(provider, server):
    lm = lm_of(provider)
    await lm.generate(request())
    client = RedisStore(server.address)._client
    for key in client.scan_iter():
        client.set(key, b"\xff{")
    assert (await lm.generate(request())).usage.lm_calls == 1


def test_the_password_is_in_no_statistics_and_no_error(server, monkeypatch):
    assert PASSWORD not in ResponseCache().stats().model_dump_json()
    monkeypatch.setenv("DSPEX_CACHE", f"redis://:{PASSWORD}@127.0.0.1:no-port/0")
    with pytest.raises(ConfigurationError, match="DSPEX_CACHE") as caught:
        ResponseCache()
    assert PASSWORD not in str(caught.value)
