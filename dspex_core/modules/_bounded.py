import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from dspex_core.errors import InputError

T = TypeVar("T")


async def bounded(calls: Sequence[Callable[[], Awaitable[T]]], *, concurrency: int) -> list[T]:
    """Make calls, a number of them at once, and give their results in order.

    Raises:
        InputError: If `concurrency` is not positive.
        Exception: The first error that a call raises; no new call is made then, and those under way are finished.
    """
    if concurrency < 1:
        raise InputError(f"concurrency={concurrency}: at least 1 is needed")
    results: dict[int, T] = {}
    errors: list[Exception] = []
    waiting = iter(enumerate(calls))

    async def work() -> None:
        for index, call in waiting:
            if errors:
                return
            try:
                results[index] = await call()
            except Exception as error:  # noqa: BLE001 - raised below, once the others are done
                errors.append(error)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(calls))):
            group.create_task(work())
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(calls))]
