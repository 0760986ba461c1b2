import asyncio
import socket
import subprocess
import sys
import threading

import pytest
from aiohttp import web

from dspex_core.errors import RetrievalError
from dspex_core.lm import _retrying
from dspex_core.retrieval import QdrantIndex


@pytest.fixture
def one_attempt(monkeypatch):
    monkeypatch.setattr(_retrying, "ATTEMPTS", 1)


@pytest.mark.slow
async def test_the_likest_passage_comes_first(cities, embedder):
    async with QdrantIndex("cities", embedder=embedder) as index:
        await index.add(cities)
        passages = await index.search("the pyramids on the Nile", k=2)
    assert passages[0].id == "cairo"
    assert passages[0].text == cities[3]["text"]
    assert passages[0].metadata == {"country": "Egypt"}
    assert 1 >= passages[0].score > passages[1].score


async def test_a_folder_keeps_what_was_added(cities, embedder, tmp_path):
    async with QdrantIndex("cities", embedder=embedder, location=tmp_path / "qdrant") as index:
        await index.add(cities[:2])
        await index.add(cities[2:])
    async with QdrantIndex("cities", embedder=embedder, location=tmp_path / "qdrant") as index:
        assert await index.count() == 4
        assert [passage.id for passage in await index.search("capital of Norway", k=1)] == ["oslo"]


async def test_a_passage_added_again_replaces_the_one_of_its_id(cities, embedder):
    async with QdrantIndex("cities", embedder=embedder) as index:
        await index.add(cities)
        await index.add([{"id": "rome", "text": "Rome wasn't built in a day."}])
        assert await index.count() == 4
        (passage,) = await index.search("built in a day", k=1)
    assert passage.text == "Rome wasn't built in a day."


async def test_many_searches_at_once_and_from_threads_are_answered(cities, embedder, tmp_path):
    async with QdrantIndex("cities", embedder=embedder, location=tmp_path / "qdrant") as index:
        await index.add(cities)
        found = await asyncio.gather(*(index.search("the Tiber", k=1) for _ in range(20)))
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append(asyncio.run(index.search("the Tiber", k=1))))
        thread.start()
        await asyncio.to_thread(thread.join)
    assert {passages[0].id for passages in [*found, *elsewhere]} == {"rome"}


async def test_a_collection_that_is_not_there_is_named(embedder):
    async with QdrantIndex("nowhere", embedder=embedder) as index:
        with pytest.raises(RetrievalError, match=r"Qdrant collection 'nowhere' at :memory:: .*not found") as caught:
            await index.search("Rome", k=1)
    assert not caught.value.retryable


@pytest.mark.slow
async def test_a_folder_in_use_by_another_process_is_named(cities, embedder, tmp_path):
    script = (
        "import asyncio, sys; from dspex_core.retrieval import Embedder, QdrantIndex;"
        "asyncio.run(QdrantIndex('cities', embedder=Embedder(), location=sys.argv[1]).count())"
    )
    async with QdrantIndex("cities", embedder=embedder, location=tmp_path / "qdrant") as index:
        await index.add(cities)
        arguments = [sys.executable, "-c", script, str(tmp_path / "qdrant")]
        ended = await asyncio.to_thread(subprocess.run, arguments, capture_output=True, text=True, check=False)
    assert f"RetrievalError: Qdrant collection 'cities' at {tmp_path}/qdrant: " in ended.stderr
    assert "already accessed by another instance" in ended.stderr


async def test_a_server_that_is_not_there_is_named_and_worth_another_try(embedder, one_attempt):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with QdrantIndex("cities", embedder=embedder, location=url) as index:
            with pytest.raises(RetrievalError, match=f"'cities' at {url}: the server cannot be reached") as caught:
                await index.search("Rome", k=1)
    assert caught.value.retryable


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
async def test_a_servers_refusal_is_quoted_without_the_key(embedder, background):
    async def refuse(request):
        assert request.headers["api-key"] == "qdrant-secret-key"
        return web.json_response({"status": {"error": "Wrong: qdrant-secret-key"}}, status=403)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", refuse)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with QdrantIndex("cities", embedder=embedder, location=url, api_key="qdrant-secret-key") as index:
            with pytest.raises(RetrievalError, match=r"the server refused, status 403: .*Wrong") as caught:
                await index.search("Rome", k=1)
    finally:
        await runner.cleanup()
    assert "qdrant-secret-key" not in str(caught.value)
    assert not caught.value.retryable
