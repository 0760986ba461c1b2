import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from dspex_core.errors import ConfigurationError
from dspex_core.sandbox._limits import SandboxLimits

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontySession, ResourceLimits

P = ParamSpec("P")
T = TypeVar("T")

GRACE_SECONDS = 1.0
"""How long a worker may be silent beyond its time limit before its process is killed."""

MOST_WORKERS = 1000


class Worker:
    """A process of the sandbox's, whose blocking calls are made in threads, one at a time."""

    def __init__(self, session: "MontySession") -> None:
        self._session = session
        self._last: Future[Any] | None = None

    async def do(self, work: "Callable[Concatenate[MontySession, P], T]", /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Have the process do something, and wait for it."""
        self._last = future = _threads().submit(work, self._session, *args, **kwargs)
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """End the process; if nobody waits for this any more, when it has done what it is at."""
        last = self._last

        def end() -> None:
            if last is not None:
                wait([last])
            self._session.__exit__(None, None, None)

        await asyncio.shield(asyncio.wrap_future(_threads().submit(end)))


@asynccontextmanager
async def worker(limits: SandboxLimits) -> AsyncGenerator[Worker]:
    """A fresh process with these limits: whatever another cell did to its own, this one does not see.

    Raises:
        ConfigurationError: If the sandbox is not installed, or can start no process.
    """
    pool = _pool(limits.seconds + GRACE_SECONDS)
    # Code that is run again after a crash shall do the same again; and waiting serves nobody.
    session = pool.checkout(limits=_as_resources(limits), os_policy={"sleep": "zero", "random_start": {"seed": 0}})
    held = Worker(session)
    try:
        try:
            await held.do(lambda session: session.__enter__())
        except RuntimeError as error:
            raise ConfigurationError(f"the sandbox cannot start a process: {error}") from None
        yield held
    finally:
        await held.close()


# The library's asynchronous pool was seen to abort the interpreter in a third of all exits; this one never was.
@cache
def _pool(silence_seconds: float) -> "Monty":
    try:
        from pydantic_monty import Monty  # noqa: PLC0415 - an extra, imported when used

        pool = Monty(
            min_processes=0,
            max_processes=MOST_WORKERS,
            max_checkouts_per_worker=1,
            request_timeout=silence_seconds,
            feed_duration_limit_grace=GRACE_SECONDS,
        )
        return pool.__enter__()
    except (ImportError, FileNotFoundError):
        raise ConfigurationError(
            "running a model's code needs pydantic-monty; run: pip install 'dspex[sandbox]'"
        ) from None


@cache
def _threads() -> ThreadPoolExecutor:
    # As many as there are processors: code that had to share one would run out of its time.
    return ThreadPoolExecutor(max(2, os.cpu_count() or 2), thread_name_prefix="dspex-sandbox")


def _as_resources(limits: SandboxLimits) -> "ResourceLimits":
    return {
        "max_feed_duration_secs": limits.seconds,
        "max_memory": limits.memory_mb * 1024 * 1024,
        "max_recursion_depth": limits.recursion_depth,
        "max_suspensions": limits.tool_calls,
    }
