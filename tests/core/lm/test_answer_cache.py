import asyncio
import json
import sqlite3
import subprocess
import sys
import threading

import pytest
from model_servers import MODEL, lm_of

from dspex_core import Usage
from dspex_core.errors import ConfigurationError, DatasetError, LMAuthenticationError
from dspex_core.lm import ResponseCache
from dspex_core.lm._batches import Batches
from dspex_core.lm._cache import CachedAnswer
from dspex_core.lm._disk import DiskStore
from dspex_core.lm._flights import MachineLocks
from dspex_core.seam import LMRequest, LMResponse, Message


def request(text="hello", **options):
    return LMRequest(messages=(Message(role="user", content=text),), **options)


def answer(text="hi"):
    return CachedAnswer(response=LMResponse(text=text, usage=Usage(lm_calls=1)))


KEY, OTHER = "a" * 64, "b" * 64


async def test_an_answer_that_is_altered_by_who_reads_it_is_unaltered_for_the_next(tmp_path):
    cache = ResponseCache(tmp_path)
    await cache.put(KEY, answer())
    (await cache.get(KEY)).response.__dict__["text"] = "altered"
    assert (await cache.get(KEY)).response.text == "hi"


async def test_what_is_put_at_once_is_written_together(tmp_path):
    written = []

    def write(batch):
        written.append(len(batch))
        return [item * 2 for item in batch]

    batches = Batches(write)
    assert await asyncio.gather(*(batches.do(number) for number in range(500))) == [2 * n for n in range(500)]
    assert sum(written) == 500
    assert len(written) < 50


async def test_equal_calls_from_several_threads_send_one_request(start_provider):
    provider = start_provider(latency_ms=100)
    lm = lm_of(provider)
    usages = await asyncio.gather(
        *(asyncio.to_thread(lambda: asyncio.run(lm.generate(request())).usage) for _ in range(6))
    )
    assert provider.stats().requests == 1
    assert sum(usages, start=Usage()).lm_calls == 1
    assert sum(usages, start=Usage()).cached_calls == 5


def test_a_call_whose_loop_ends_before_the_answer_is_made_by_those_who_joined(start_model):
    arrived, go_on = threading.Event(), threading.Event()

    async def say(_):
        arrived.set()
        await asyncio.to_thread(go_on.wait)
        return "late"

    lm = lm_of(start_model(say))
    said = []

    async def begin_and_leave():
        asked = asyncio.create_task(lm.generate(request()))
        await asyncio.to_thread(arrived.wait)
        joined.start()
        while not any(flight._waiters or flight._done_callbacks for flight in flights()):
            await asyncio.sleep(0.01)
        del asked

    def flights():
        return list(lm._cache._flights._under_way.values())

    joined = threading.Thread(target=lambda: said.append(asyncio.run(lm.generate(request())).text))
    asyncio.run(begin_and_leave())
    go_on.set()
    joined.join(10)
    assert said == ["late"]


async def test_a_rejected_key_is_not_the_failure_of_who_has_a_good_one(start_provider):
    provider = start_provider(api_key="sk-the-right-one", latency_ms=50)
    bad, good = (lm_of(provider, api_key=key) for key in ("sk-a-wrong-one", "sk-the-right-one"))
    outcomes = await asyncio.gather(bad.generate(request()), good.generate(request()), return_exceptions=True)
    assert isinstance(outcomes[0], LMAuthenticationError)
    assert outcomes[1].text


async def test_an_answer_that_was_found_and_then_cleared_is_asked_for_again(provider):
    lm = lm_of(provider)
    for _ in range(2):
        await lm.generate(request())
    lm._cache.clear()
    answer = await asyncio.wait_for(lm.generate(request()), 10)
    assert (answer.usage.lm_calls, answer.usage.cached_calls) == (1, 0)


async def test_who_looks_first_and_is_told_last_waits_for_who_asks_and_does_not_keep_it_waiting(tmp_path):
    cache = ResponseCache(tmp_path)
    looked, told = asyncio.Event(), asyncio.Event()
    look, asked = cache.get, []

    async def get(key):
        if not looked.is_set():  # as a server that answers the first look later than the second
            looked.set()
            await told.wait()
            return None
        return await look(key)

    async def ask():
        asked.append(KEY)
        return answer()

    cache.get = get
    first = asyncio.create_task(cache.once(KEY, ask, asker=1))
    await looked.wait()
    second = asyncio.create_task(cache.once(KEY, ask, asker=1))
    await asyncio.sleep(0)
    told.set()
    found = await asyncio.wait_for(asyncio.gather(first, second), 10)
    assert sorted(fresh for _, fresh in found) == [False, True]
    assert asked == [KEY]


ASK = """
import asyncio, json, sys
from dspex_core import LM
from dspex_core.seam import LMRequest, Message

async def main():
    lm = LM(sys.argv[1], api_base=sys.argv[2], concurrency=16)
    await asyncio.to_thread(sys.stdin.readline)
    requests = (LMRequest(messages=(Message(role="user", content=f"question {n}"),)) for n in range(int(sys.argv[3])))
    responses = await asyncio.gather(*map(lm.generate, requests))
    print(json.dumps([sum(r.usage.lm_calls for r in responses), sum(r.usage.cached_calls for r in responses)]))

asyncio.run(main())
"""


@pytest.mark.slow
def test_two_processes_that_ask_the_same_at_the_same_time_send_each_request_once(start_provider):
    provider = start_provider(latency_ms=20)
    command = [sys.executable, "-c", ASK, MODEL, provider.base_url, "1000"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    (paid, free), (more_paid, more_free) = (json.loads(process.communicate(timeout=120)[0]) for process in processes)
    assert provider.stats().requests == 1000
    assert (paid + more_paid, free + more_free) == (1000, 1000)


@pytest.mark.slow
async def test_the_lock_of_a_process_that_was_killed_is_free_at_once(tmp_path):
    script = (
        "import asyncio, sys; from pathlib import Path; from dspex_core.lm._flights import MachineLocks;"
        "locks = MachineLocks(Path(sys.argv[1])); asyncio.run(locks.take(sys.argv[2]));"
        "print('held', flush=True); sys.stdin.read()"
    )
    file = tmp_path / "calls.lock"
    command = [sys.executable, "-c", script, str(file), KEY]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "held\n"
        locks = MachineLocks(file)
        assert not locks._try(int(KEY[:15], 16))
        await asyncio.wait_for(locks.take(OTHER), 5)
        holder.kill()
        await asyncio.wait_for(locks.take(KEY), 5)


async def test_within_a_process_a_lock_is_one_caller_s_too(tmp_path):
    locks = MachineLocks(tmp_path / "calls.lock")
    await locks.take(KEY)
    second = asyncio.create_task(locks.take(KEY))
    await asyncio.sleep(0.02)
    assert not second.done()
    locks.give_back(KEY)
    await asyncio.wait_for(second, 5)


async def test_where_nothing_can_be_locked_calls_are_made_all_the_same(tmp_path, caplog):
    locks = MachineLocks(tmp_path / "no such folder" / "calls.lock")
    await asyncio.wait_for(locks.take(KEY), 5)
    locks.give_back(KEY)
    assert "equal ones may be sent twice" in caplog.text


async def test_a_cache_that_cannot_be_written_to_is_passed_over_with_one_warning(provider, monkeypatch, caplog):
    lm = lm_of(provider)
    await lm.generate(request())

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diskcache.Cache.set", full)
    for number in range(3):
        assert (await lm.generate(request(str(number)))).usage.lm_calls == 1
    assert caplog.text.count("No space left on device") == 1
    assert (await lm.generate(request())).usage.cached_calls == 1


@pytest.mark.parametrize("size", [20_000, 100_000])
async def test_beyond_its_limit_the_answers_kept_longest_go(tmp_path, monkeypatch, size):
    monkeypatch.setenv("DSPEX_CACHE_LIMIT", "2 MB")
    monkeypatch.setattr(
        "dspex_core.lm._disk._IN_A_THREAD_SECONDS", 0.0
    )  # little is written at once, even on a slow disk
    store = DiskStore(tmp_path)
    last = 6_000_000 // size
    for number in range(last + 1):
        await store.put({f"key {number}": "x" * size})
    assert store.stats().limit_bytes == 2 * 1024**2
    assert store.stats().size_bytes < 4 * 1024**2
    assert store.get("key 0") is None
    assert store.get(f"key {last}")


@pytest.mark.parametrize(("name", "value"), [("DSPEX_CACHE_LIMIT", "much"), ("DSPEX_CACHE", "mongodb://:secret@h")])
def test_settings_that_cannot_be_understood_are_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        ResponseCache()
    assert "secret" not in str(caught.value)


async def test_what_is_exported_can_be_taken_in_elsewhere_and_changes_nothing_known_there(tmp_path):
    here, there = ResponseCache(tmp_path / "here"), ResponseCache(tmp_path / "there")
    await here.put(KEY, answer("one"))
    await here.put(OTHER, answer("two"))
    await there.put(KEY, answer("known"))
    lines = list(here.export())
    assert there.load([*lines, "\n"]) == 1
    assert (await there.get(KEY)).response.text == "known"
    assert (await there.get(OTHER)).response.text == "two"
    assert there.clear() == 2
    assert len(there) == 0


@pytest.mark.parametrize("line", ["no json", '{"key": "../x", "answer": {"response": {"text": "t"}}}', '{"key": "a"}'])
def test_a_line_that_is_no_answer_is_named(tmp_path, line):
    with pytest.raises(DatasetError, match="line 1 is no cached answer"):
        ResponseCache(tmp_path).load([line])


async def test_a_write_that_another_process_holds_up_does_not_hold_up_the_loop(tmp_path):
    store = DiskStore(tmp_path)
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(store.put({KEY: "kept"}))
    await asyncio.wait([writing], timeout=0.05)
    assert not writing.done()
    other.execute("ROLLBACK")
    await writing
    assert store.get(KEY) == "kept"
    other.close()


async def test_an_answer_is_found_though_another_process_is_just_opening_or_closing_the_cache(tmp_path, caplog):
    store = DiskStore(tmp_path)
    await store.put({KEY: "kept"})
    store._store.close()  # its next look opens the database, as the first one of a process does
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    looking = asyncio.create_task(store.fetch(KEY))
    await asyncio.wait([looking], timeout=0.1)
    assert not looking.done()
    other.close()
    assert await looking == "kept"
    assert not caplog.text


async def test_no_other_call_takes_the_place_of_one_whose_answer_is_not_kept_yet(start_model, monkeypatch):
    kept_on_arrival, arrived_again = [], threading.Event()

    async def say(_):
        kept_on_arrival.append(len(ResponseCache()))
        if len(kept_on_arrival) > 1:
            arrived_again.set()
        return "said"

    put = ResponseCache.put

    async def put_slowly(cache, key, answer):
        await asyncio.to_thread(arrived_again.wait, 0.3)
        await put(cache, key, answer)

    monkeypatch.setattr(ResponseCache, "put", put_slowly)
    lm = lm_of(start_model(say), concurrency=1)
    await asyncio.gather(lm.generate(request("one")), lm.generate(request("another")))
    assert kept_on_arrival == [0, 1]
