import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Once(Generic[K, V]):
    """Finds each key's value out once, also for callers side by side: who comes second waits for the first."""

    def __init__(self) -> None:
        self._values: dict[K, asyncio.Future[V]] = {}

    async def values(self, keys: Sequence[K], find: Callable[[list[K]], Awaitable[Sequence[V]]]) -> list[V]:
        """The values of keys, in their order.

        Args:
            keys: What to find out.
            find: Finds out those that nobody has asked for yet, in one go. What it raises is raised here, and to all
                who wait for the same; the next one to ask tries anew.
        """
        mine = [key for key in dict.fromkeys(keys) if key not in self._values]
        if mine:
            loop = asyncio.get_running_loop()
            claimed = {key: loop.create_future() for key in mine}
            self._values |= claimed
            try:
                found = await find(mine)
            except BaseException as error:
                for key, future in claimed.items():
                    del self._values[key]
                    _fail(future, error)
                raise
            for key, value in zip(mine, found, strict=True):
                claimed[key].set_result(value)
        return [await self._values[key] for key in keys]

    def note(self, key: K, value: V) -> None:
        """Take over a value that was found out otherwise, unless it is known or being found out."""
        if key not in self._values:
            future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
            future.set_result(value)
            self._values[key] = future

    def asked(self, key: K) -> bool:
        """Whether somebody has asked for a value."""
        return key in self._values

    def known(self, key: K) -> V | None:
        """A value that was found out; None if it was not."""
        future = self._values.get(key)
        return future.result() if future is not None and future.done() else None


def _fail(future: asyncio.Future[V], error: BaseException) -> None:
    if isinstance(error, Exception):
        future.set_exception(error)
        future.exception()  # nobody may be waiting, and that is fine
    else:
        future.cancel()
