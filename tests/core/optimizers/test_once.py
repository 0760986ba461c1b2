import asyncio

import pytest

from dspex_core.optimizers._once import Once


class Asked:
    """Finds values out, and remembers what it was asked for; it waits for `go`."""

    def __init__(self):
        self.keys = []
        self.go = asyncio.Event()

    async def __call__(self, keys):
        self.keys.append(keys)
        await self.go.wait()
        return [key * 10 for key in keys]


async def test_callers_side_by_side_ask_for_each_key_once():
    once, asked = Once(), Asked()
    first = asyncio.create_task(once.values([1, 2], asked))
    second = asyncio.create_task(once.values([2, 3, 2], asked))
    await asyncio.sleep(0)
    asked.go.set()
    assert await first == [10, 20]
    assert await second == [20, 30, 20]
    assert asked.keys == [[1, 2], [3]]
    assert (once.known(3), once.known(4)) == (30, None)


async def test_who_waits_gets_the_error_too_and_the_next_one_tries_anew():
    once, asked = Once(), Asked()

    async def fail(keys):
        await asked.go.wait()
        raise ValueError(keys)

    first = asyncio.create_task(once.values([1], fail))
    second = asyncio.create_task(once.values([1], asked))
    await asyncio.sleep(0)
    asked.go.set()
    for waiting in (first, second):
        with pytest.raises(ValueError, match="1"):
            await waiting
    assert asked.keys == []
    assert await once.values([1], asked) == [10]


async def test_a_cancelled_caller_leaves_nothing_behind():
    once, asked = Once(), Asked()
    first = asyncio.create_task(once.values([1], asked))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    asked.go.set()
    assert await once.values([1], asked) == [10]
